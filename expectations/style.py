"""The look of every page that is written: one stylesheet, put into the page itself; nothing is loaded from anywhere.

The words on a badge carry the meaning, the colours repeat it: they have a contrast of at least 7 to 1, all other text 5.7.
"""

STYLE = """\
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
  tr { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
  thead { display: table-header-group; }
  .badge { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""
