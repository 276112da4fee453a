"""A trace as an HTML page that needs no network, from the work order at the top down to the lines of the delivered files."""

from functools import cache
from typing import TYPE_CHECKING, Any

from expectations.style import STYLE

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = (
    """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Trace of {{ order.order_id }}</title>
<style>
"""
    + STYLE
    + """\
code { font-size: .9em; overflow-wrap: anywhere; }
td code { white-space: nowrap; }
ul.gaps { color: #8c1d14; }
</style>
</head>
<body>
<header><div class="inner">
<h1>Trace of {{ order.order_id }}</h1>
<p class="range"><strong>{{ order.title }}</strong> · {{ order.machine_id }}, {{ order.site }}
· {{ order.state | words }} · times are UTC</p>
<nav aria-label="Sections">
{% for name in ("Decision", "Prediction", "Incidents", "Detector", "Drops", "Runs") %}
<a href="#{{ name | lower }}">{{ name }}</a>
{% endfor %}
</nav>
</div></header>
<main>
{% if gaps %}
<section><h2>What could not be resolved</h2><ul class="gaps">{% for gap in gaps %}<li>{{ gap }}</li>{% endfor %}</ul></section>
{% endif %}
<section id="decision"><h2>Decision</h2>
<p class="text">{{ order.reason }}</p>
{{ table(["at", "from", "to", "who", "why", "request"], history, ["at", "from_state", "to_state", "who", "why", "request_id"]) }}
{% if places %}
{{ table(["technician", "start", "end", "overtime"], places, ["technician_id", "start_at", "end_at", "is_overtime"]) }}
{% endif %}
{% if work_done %}
{{ table(["started", "ended", "technician", "finding", "note"], work_done, ["started_at", "ended_at", "technician", "finding", "note"]) }}
{% endif %}
</section>
<section id="prediction"><h2>Prediction</h2>
{% if prediction %}
{{ table(["day", "failure mode", "within 7 d", "within 30 d", "p10 (d)", "p50 (d)", "p90 (d)", "sensor", "limit", "method", "note"],
  [prediction], ["day", "failure_mode", "probability_7d", "probability_30d", "ttf_p10_days", "ttf_p50_days", "ttf_p90_days",
  "leading_sensor_id", "limit_value", "method", "note"]) }}
{% else %}<p class="text">None: the work rests on the incidents alone.</p>
{% endif %}
</section>
<section id="incidents"><h2>Incidents</h2>
{% for incident in incidents %}
<h3>{{ incident.incident_id }}</h3>
<p class="text">{{ incident.verdict | words }}, confidence {{ incident.confidence | shown }} (before the rules
{{ incident.confidence_before | shown }}){% if incident.reasons %}: {{ incident.reasons | join("; ") }}{% endif %}.
{{ incident.n_windows_scored }} windows scored, {{ incident.n_windows_above_threshold }} of them above the threshold;
it rests on {{ incident.n_readings }} readings.</p>
{% for window in incident.windows %}
<h3>Window {{ window.window_start | shown }}, score {{ window.score | shown }}</h3>
{{ table(["sensor", "readings", "first", "last", "mean", "drop_seq"], window.readings,
  ["sensor_id", "n_readings", "first_at", "last_at", "mean", "drop_seqs"]) }}
{% endfor %}
{% endfor %}
</section>
<section id="detector"><h2>Detector</h2>
{{ table(["version", "trained", "from", "to", "artifact sha256", "data sha256", "MLflow run"], detectors,
  ["version", "trained_at", "data_start", "data_end", "artifact_sha256", "data_sha256", "mlflow_run_id"]) }}
</section>
<section id="drops"><h2>Drops</h2>
{% for drop in drops %}
<h3>{{ drop.file_name }}</h3>
<p class="text">drop {{ drop.drop_seq }} (<code>{{ drop.drop_id }}</code>), sha256 <code>{{ drop.sha256 }}</code>,
{{ "as delivered" if drop.is_intact else "NOT AS DELIVERED" }}, kept as <code>{{ drop.kept_as }}</code>;
{{ drop.n_readings }} of its readings count here. Taken in by run
<a href="{{ dagster_url }}/runs/{{ drop.run_id }}">{{ drop.run_id[:8] }}</a>.{% if drop.note %} {{ drop.note }}.{% endif %}</p>
{% if drop.lines %}
{{ table(["sensor", "readings shown", "first line", "last line"], drop.lines, ["sensor_id", "n", "first_line", "last_line"]) }}
{% endif %}
{% if drop.segments %}{{ table(["segment of", "rows", "file"], drop.segments, ["day", "rows", "path"]) }}{% endif %}
{% endfor %}
</section>
<section id="runs"><h2>Runs</h2>
<div class="scroll"><table><thead><tr><th>asset</th><th>run</th><th>at</th><th>code version</th></tr></thead><tbody>
{% for name, run in runs.items() %}
<tr><td>{{ name }}</td>{% if run %}<td><a href="{{ dagster_url }}/runs/{{ run.run_id }}"><code>{{ run.run_id }}</code></a></td>
<td>{{ run.at | shown }}</td><td>{{ run.code_version | shown }}</td>{% else %}<td>none on record</td><td></td><td></td>{% endif %}</tr>
{% endfor %}
</tbody></table></div>
</section>
</main>
<footer><div class="inner">Looked up with version {{ code_version }} of the program.</div></footer>
</body>
</html>
"""
)

TABLE = """\
{% macro table(heads, rows, names) %}
<div class="scroll"><table><thead><tr>{% for head in heads %}<th scope="col">{{ head }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}
<tr>{% for name in names %}<td>{{ row[name] | shown }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}
"""


def to_html(trace: dict[str, Any], *, dagster_url: str) -> str:
    """Every value is escaped."""
    return str(_template().render(**trace, dagster_url=dagster_url))


def shown(value: Any) -> str:
    """A stored value as a reader wants it: times to the second, numbers to four digits, nothing for what is not known."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    text = str(value)
    is_time = len(text) >= 19 and text[4:5] == text[7:8] == "-" and text[10:11] == "T"
    return f"{text[:10]} {text[11:19]}" if is_time else text


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(shown=shown, words=lambda text: str(text).replace("_", " "))
    return environment.from_string(TABLE + TEMPLATE)
