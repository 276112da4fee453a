"""The HTML page of a report: one file, no script, nothing loaded from anywhere."""

TEMPLATE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ report.title }}, {{ report.scope }}, {{ span(report) }}</title>
<style>
:root { --ink: #1c2733; --soft: #55636f; --line: #d9dfe5; --pale: #f5f7f9; --accent: #1f4e79; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
header { border-top: 6px solid var(--accent); border-bottom: 1px solid var(--line); background: var(--pale); }
.inner, main { max-width: 1200px; margin: 0 auto; padding: 1.1rem 1.5rem; }
h1 { margin: 0; font-size: 1.6rem; font-weight: 650; letter-spacing: -.01em; }
.range { margin: .15rem 0 0; color: var(--soft); }
.range strong { color: var(--ink); font-weight: 600; }
nav { margin-top: .6rem; font-size: .9rem; }
nav a { color: var(--accent); margin-right: 1.1rem; text-decoration: none; border-bottom: 1px solid #b9c9d8; }
section { margin: 1.2rem 0 2.2rem; }
h2 { font-size: 1.2rem; font-weight: 650; margin: 0 0 .5rem; padding-bottom: .3rem; border-bottom: 2px solid var(--accent); }
h3 { font-size: 1rem; font-weight: 600; margin: 1.4rem 0 .4rem; }
p.text { margin: .4rem 0 .8rem; max-width: 75ch; }
dl.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(185px, 1fr)); gap: .7rem; margin: .8rem 0; }
dl.figures div { border: 1px solid var(--line); border-left: 4px solid var(--accent); border-radius: 4px; padding: .55rem .75rem; }
dt { font-size: .82rem; color: var(--soft); }
dd { margin: 0; font-size: 1.5rem; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
dd.words { font-size: 1.1rem; line-height: 1.7; }
dd .unit { font-size: .9rem; font-weight: 400; color: var(--soft); }
dd.note { font-size: .8rem; font-weight: 400; color: var(--soft); }
figure { margin: 1.2rem 0; }
figcaption { font-weight: 600; margin-bottom: .2rem; }
figure svg { display: block; width: 100%; min-width: 600px; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; }
caption { text-align: left; font-weight: 600; font-size: 1rem; padding: 1.1rem 0 .4rem; }
th { text-align: left; font-weight: 600; color: var(--soft); background: var(--pale);
  border-bottom: 1px solid #b8c2cc; vertical-align: bottom; }
th, td { padding: .32rem .6rem; }
td { border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
td.short { white-space: nowrap; }
td.long { min-width: 16rem; }
.badge { display: inline-block; padding: 0 .5rem; border-radius: 3px; border: 1px solid;
  font-weight: 600; font-size: .8rem; white-space: nowrap; }
.bad { color: #8c1d14; background: #fbeae8; border-color: #dca39d; }
.warn { color: #7a4300; background: #fdf1e0; border-color: #e3bd87; }
.info { color: #1a4a75; background: #e7f0f8; border-color: #a5c1da; }
.good { color: #17593a; background: #e6f4ec; border-color: #9fcdb3; }
.plain { color: #44505b; background: #eef1f4; border-color: #c3cbd3; }
footer { border-top: 1px solid var(--line); color: var(--soft); font-size: .85rem; }
@media print {
  body { font-size: 10.5pt; }
  header { background: none; }
  nav { display: none; }
  main, .inner { max-width: none; padding: .4rem 0; }
  .scroll { overflow: visible; }
  tr, figure, dl.figures div { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
  thead { display: table-header-group; }
  .badge { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
</style>
</head>
<body>
<header><div class="inner">
<h1>{{ report.title }}</h1>
<p class="range"><strong>{{ report.scope }}</strong> · {{ span(report) }} · times are UTC</p>
<nav aria-label="Sections">{% for section in report.sections %}<a href="#section-{{ loop.index }}">{{ section.title }}</a>
{% endfor %}</nav>
</div></header>
<main>
{% for section in report.sections %}
<section id="section-{{ loop.index }}">
<h2>{{ section.title }}</h2>
{% if section.text %}<p class="text">{{ section.text }}</p>
{% endif %}
{% if section.figures %}
<dl class="figures">
{% for figure in section.figures %}
<div><dt>{{ figure.label }}</dt>
<dd{% if figure.value is string %} class="words"{% endif %}>{{ figure.value | shown }}
{%- if figure.unit %} <span class="unit">{{ figure.unit }}</span>{% endif %}</dd>
{% if figure.note %}<dd class="note">{{ figure.note }}</dd>
{% endif %}
</div>
{% endfor %}
</dl>
{% endif %}
{% for chart in section.charts %}
<figure><figcaption>{{ chart.title }}</figcaption>
<div class="scroll" role="img" aria-label="{{ chart.alt }}">{{ chart.svg | svg(next_number()) }}</div></figure>
{% endfor %}
{% for table in section.tables %}
<div class="scroll"><table>
<caption>{{ table.title }}</caption>
<thead><tr>
{% for column in table.columns %}
<th scope="col"{% if is_number_column(table, loop.index0) %} class="number"{% endif %}>{{ column }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in table.rows %}
<tr>
{%- for value in row %}
{% set column = table.columns[loop.index0] %}
{% set tone = badge(column, value) %}
{% set text = value | shown %}
{% if tone %}<td class="short"><span class="badge {{ tone }}">{{ text | replace("_", " ") }}</span></td>
{%- elif is_number_column(table, loop.index0) %}<td class="number">{{ text }}</td>
{%- elif text | length > 40 %}<td class="long">{{ text }}</td>
{%- elif text | length < 18 %}<td class="short">{{ text }}</td>
{%- else %}<td>{{ text }}</td>
{%- endif %}
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table></div>
{% endfor %}
</section>
{% endfor %}
</main>
<footer><div class="inner">
Every figure is computed from {{ report.generated_from }}, for {{ span(report) }}, {{ report.scope }}.
</div></footer>
</body>
</html>
"""
