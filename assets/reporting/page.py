"""The HTML page of a report: one file, no script, nothing loaded from anywhere."""

from expectations.style import STYLE

TEMPLATE = (
    """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ report.title }}, {{ report.scope }}, {{ span(report) }}</title>
<style>
"""
    + STYLE
    + """\
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
@media print { figure, dl.figures div { break-inside: avoid; } }
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
)
