"""The HTML of the validation pages: a site-day's suite, the history of a suite, the index. No script, nothing loaded from anywhere."""

from expectations.style import STYLE

_OWN_STYLE = """\
.wide .inner, .wide main { max-width: 2200px; }
main a { color: var(--accent); }
.counts { margin: .6rem 0 0; }
.counts .badge { margin-right: .4rem; }
.words { min-width: 18rem; }
.words small, td small { color: var(--soft); }
article { border: 1px solid var(--line); border-left: 5px solid; border-radius: 4px; padding: .6rem .9rem; margin: .9rem 0; }
article.failed { border-left-color: #8c1d14; }
article.warned { border-left-color: #b36b00; }
article h3 { margin: 0 0 .2rem; }
article p { margin: .2rem 0; }
article table { width: auto; min-width: 40%; }
.newest { direction: rtl; }
.newest > table { direction: ltr; }
table.grid { width: auto; border-collapse: separate; border-spacing: 2px; }
table.grid th, table.grid td { border: 0; padding: .12rem .3rem; vertical-align: middle; }
table.grid thead th { font-size: .72rem; text-align: center; font-variant-numeric: tabular-nums; }
table.grid thead th.month { text-align: left; border-left: 2px solid #b8c2cc; }
table.grid th.month span { position: sticky; left: 18rem; }
table.grid tbody th { color: var(--ink); font-weight: 400; min-width: 17rem; max-width: 24rem; }
table.grid tr > :first-child { position: sticky; left: 0; z-index: 1; background: #fff; box-shadow: 2px 0 0 #fff; }
table.grid thead th:first-child { text-align: left; }
table.grid td { text-align: center; min-width: 1.9rem; height: 1.7rem; border-radius: 3px; font-variant-numeric: tabular-nums; }
table.grid td a { color: inherit; text-decoration: none; font-weight: 600; display: block; }
table.grid td a:hover, table.grid td a:focus { text-decoration: underline; }
"""

PAGE = (
    """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{% block title %}{% endblock %}</title>
<style>
"""
    + STYLE
    + _OWN_STYLE
    + """\
</style>
</head>
<body{% block look %}{% endblock %}>
<header><div class="inner">
<h1>{% block heading %}{% endblock %}</h1>
<p class="range">{% block range %}{% endblock %}</p>
<nav aria-label="Pages">{% block nav %}{% endblock %}</nav>
</div></header>
<main>
{% block main %}{% endblock %}
</main>
<footer><div class="inner">{% block footer %}{% endblock %}</div></footer>
</body>
</html>
"""
)

# The words of a badge say what its colour says.
MACROS = """\
{% macro badge(result) %}<span class="badge {{ tone(result) }}">{{ result }}</span>{% endmacro %}
{% macro run(id, text) %}
{% set url = id | run_url %}
{% if url %}<a href="{{ url }}"><code>{{ text }}</code></a>{% else %}<code>{{ text }}</code>{% endif %}
{% endmacro %}
{% macro evidence(rows) %}
<div class="scroll"><table>
<thead><tr>{% for name in columns(rows) %}
<th scope="col"{% if is_number(rows, name) %} class="number"{% endif %}>{{ name }}</th>
{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for name in columns(rows) %}
<td{% if is_number(rows, name) %} class="number"{% endif %}>{% if name in row %}{{ row[name] | shown }}{% endif %}</td>
{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
{% endmacro %}
"""

DAY = """\
{% extends "page" %}
{% from "macros" import badge, evidence, run %}
{% block title %}{{ v.suite }}, {{ v.site }}, {{ v.day }}: {{ v.result }}{% endblock %}
{% block heading %}{{ v.suite }} {{ badge(v.result) }}{% endblock %}
{% block range %}<strong>{{ v.site }}</strong> · {{ v.day }} (UTC) · {{ v.description }}{% endblock %}
{% block nav %}<a href="index.html">History of this suite</a> <a href="../../index.html">All suites</a>{% endblock %}
{% block main %}
<p class="text">{{ v.n_rows | counted("row") }} checked at {{ v.validated_at | time }}, {% if v.n_failed == 0 %}every expectation holds
{%- else %}{{ v.n_failed }} of {{ v.expectations | length }} expectations failed{% endif %}.
Run {{ run(v.run_id, v.run_id) }}.</p>
{% set failing = v.expectations.values() | rejectattr("success") | list %}
{% if failing %}
<section><h2>What failed</h2>
{% for e in failing %}
<article class="{{ e.result }}" id="{{ e.name }}">
<h3>{{ e.description }} {{ badge(e.result) }}</h3>
<p><code>{{ e.name }}</code>: {% if e.unexpected %}{{ e.n_unexpected | counted("row") }} of {{ v.n_rows | shown }}
{%- if e.unexpected | length < e.n_unexpected %}, of which the first {{ e.unexpected | length }}{% endif %}:
{%- else %}the whole table.{% endif %}
{% if e.observed %} Observed: {{ e.observed }}{% endif %}</p>
{% if e.unexpected %}{{ evidence(e.unexpected) }}{% endif %}
</article>
{% endfor %}
</section>
{% endif %}
<section><h2>Every expectation</h2>
<div class="scroll"><table>
<thead><tr><th scope="col">expectation</th><th scope="col">in case of failure</th><th scope="col">result</th>
<th scope="col" class="number">rows that fail</th></tr></thead>
<tbody>
{% for e in v.expectations.values() %}
<tr><td class="words">{{ e.description }}<br><small><code>{{ e.name }}</code></small></td>
<td class="short">{{ "the table is wrong" if e.severity == "critical" else "a warning" }}</td>
<td class="short">{{ badge(e.result) }}</td>
<td class="number">{% if not e.success %}<a href="#{{ e.name }}">{{ e.n_unexpected | shown }}</a>{% else %}0{% endif %}</td></tr>
{% endfor %}
</tbody>
</table></div>
</section>
{% endblock %}
{% block footer %}From the ledger's <code>validations</code>, as run {{ v.run_id }} recorded them. Times are UTC.{% endblock %}
"""

HISTORY = """\
{% extends "page" %}
{% from "macros" import badge, run %}
{% block title %}{{ latest.suite }}, {{ latest.site }}: history{% endblock %}
{% block heading %}{{ latest.suite }}{% endblock %}
{% block range %}<strong>{{ latest.site }}</strong> · {{ latest.description }}{% endblock %}
{% block nav %}<a href="../../index.html">All suites</a>{% endblock %}
{% block look %} class="wide"{% endblock %}
{% block main %}
<p class="text">{% if n_days > days | length %}The newest {{ days | length }} of {{ n_days }} days.{% else %}{{ n_days | counted("day") }}.
{%- endif %} In a square: ✓ where the expectation held, else how many rows failed it; empty where it was not asked.</p>
<p class="counts">{% for result in RESULTS %}<span class="badge {{ tone(result) }}">{{ MARKS[result] }} {{ result }}</span>
{{ days | selectattr("result", "equalto", result) | list | length | counted("day") }} &emsp;{% endfor %}</p>
<section><h2>Expectation by day</h2>
<div class="scroll newest"><table class="grid">
<thead>
<tr><td></td>{% for month, n in months(days) %}
<th scope="colgroup" colspan="{{ n }}" class="month"><span>{{ month }}</span></th>
{% endfor %}</tr>
<tr><th scope="col">expectation</th>{% for v in days %}<th scope="col">{{ "%02d" | format(v.day.day) }}</th>{% endfor %}</tr>
</thead>
<tbody>
{% for name, words in expectations_of(days) %}
<tr><th scope="row">{{ words }}</th>
{% for v in days %}
{% set e = v.expectations.get(name) %}
{% if e %}
<td class="{{ tone(e.result) }}"><a href="{{ v.day }}.html{{ "" if e.success else "#" ~ e.name }}"
 title="{{ v.day }}: {{ e.result }}{{ "" if e.success else ", " ~ (e.n_unexpected | counted("row")) }}">
{{- MARKS[e.result] }}{{ "" if e.success else (e.n_unexpected | short) }}</a></td>
{% else %}<td></td>
{% endif %}
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table></div>
</section>
<section><h2>Day by day</h2>
<div class="scroll"><table>
<thead><tr><th scope="col">day</th><th scope="col">result</th><th scope="col" class="number">rows</th>
<th scope="col">what failed</th><th scope="col">checked at</th><th scope="col">run</th></tr></thead>
<tbody>
{% for v in days | reverse %}
<tr><td class="short"><a href="{{ v.day }}.html">{{ v.day }}</a></td><td class="short">{{ badge(v.result) }}</td>
<td class="number">{{ v.n_rows | shown }}</td>
<td class="words">{{ v.expectations.values() | rejectattr("success") | map(attribute="description") | join("; ") }}</td>
<td class="short">{{ v.validated_at | time }}</td>
<td class="short">{{ run(v.run_id, v.run_id[:16]) }}</td></tr>
{% endfor %}
</tbody>
</table></div>
</section>
{% endblock %}
{% block footer %}From the ledger's <code>validations</code>. Times are UTC.{% endblock %}
"""

INDEX = """\
{% extends "page" %}
{% from "macros" import badge %}
{% block title %}Validation{% endblock %}
{% block heading %}Validation{% endblock %}
{% block range %}What was expected of each stored table, and what was found{% endblock %}
{% block main %}
{% for site, suites in sites.items() %}
<section><h2>{{ site }}</h2>
<div class="scroll"><table>
<thead><tr><th scope="col">suite</th><th scope="col">latest day</th><th scope="col">result</th>
<th scope="col" class="number">rows</th><th scope="col" class="number">days</th>
<th scope="col" class="number">failed</th><th scope="col" class="number">warned</th><th scope="col">last failed on</th></tr></thead>
<tbody>
{% for s in suites %}
{% set folder = (s.site | urlencode) ~ "/" ~ (s.suite | urlencode) %}
<tr><td class="words"><a href="{{ folder }}/index.html">{{ s.suite }}</a><br><small>{{ s.description }}</small></td>
<td class="short"><a href="{{ folder }}/{{ s.day }}.html">{{ s.day }}</a></td>
<td class="short">{{ badge(s.result) }}</td>
<td class="number">{{ s.n_rows | shown }}</td><td class="number">{{ s.n_days }}</td>
<td class="number">{{ s.n_days_failed }}</td><td class="number">{{ s.n_days_warned }}</td>
<td class="short">
{%- if s.last_failed_on %}<a href="{{ folder }}/{{ s.last_failed_on }}.html">{{ s.last_failed_on }}</a>{% endif %}</td></tr>
{% endfor %}
</tbody>
</table></div>
</section>
{% endfor %}
{% endblock %}
{% block footer %}From the ledger's <code>validations</code>. Days are UTC days.{% endblock %}
"""

TEMPLATES = {"page": PAGE, "macros": MACROS, "day": DAY, "history": HISTORY, "index": INDEX}
