"""The look of the page: colours for light and dark, nothing from the network."""

STYLE = """\
:root {
  --paper: #fcfcfb; --card: #ffffff; --ink: #1c1c1a; --faint: #6b6a64; --rule: #e4e3dd;
  --line: #2a6fc9; --under: #c65a4a; --buy: #1d8a5f; --sell: #c2571a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #161615; --card: #1f1f1d; --ink: #f2f1ec; --faint: #a3a29a; --rule: #353531;
    --line: #6ea8f2; --under: #e08272; --buy: #4fc493; --sell: #f09a5c;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
header, main { max-width: 1040px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 32px; }
h1 { margin: 0; font-size: 26px; font-weight: 650; letter-spacing: -0.01em; }
h2 { margin: 0; font-size: 16px; font-weight: 620; }
p { margin: 2px 0 0; color: var(--faint); overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 22px 0; }
.tiles div, figure, .columns > div, details {
  background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 14px 16px;
}
.tiles span, .tiles small { display: block; color: var(--faint); font-size: 12.5px; }
.tiles b { display: block; font-size: 22px; font-weight: 620; font-variant-numeric: tabular-nums; }
figure { margin: 0 0 14px; }
figcaption p { font-size: 13px; display: flex; flex-wrap: wrap; gap: 0 12px; }
.chart { overflow-x: auto; }
time { white-space: nowrap; }
svg { display: block; width: 100%; height: auto; margin-top: 8px; }
.grid { stroke: var(--rule); stroke-width: 1; }
.reference { stroke: var(--faint); stroke-width: 1; stroke-dasharray: 4 4; }
.axis { fill: var(--faint); font-size: 11.5px; font-variant-numeric: tabular-nums; }
.line { fill: none; stroke: var(--line); stroke-width: 1.6; stroke-linejoin: round; }
.under { fill: var(--under); fill-opacity: 0.45; stroke: var(--under); stroke-width: 1; }
path.buy { fill: var(--buy); stroke: var(--card); stroke-width: 0.6; }
path.sell { fill: var(--sell); stroke: var(--card); stroke-width: 0.6; }
.key { white-space: nowrap; }
.key.buy { color: var(--buy); }
.key.sell { color: var(--sell); }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 14px; }
table { width: 100%; margin-top: 8px; border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 0; border-bottom: 1px solid var(--rule); text-align: right; font-weight: 400; }
th { color: var(--faint); }
th:first-child, td:first-child { text-align: left; color: var(--faint); }
tr:last-child td { border-bottom: 0; }
details { margin: 14px 0 40px; }
summary { cursor: pointer; }
pre { overflow-x: auto; font-size: 12.5px; }
@media (max-width: 600px) {
  header, main { padding: 0 12px; }
  header { padding-top: 20px; }
  .tiles div, figure, .columns > div, details { padding: 12px; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 8px; }
  .columns { grid-template-columns: 1fr; }
  /* Wider than the screen, to be moved sideways: what is smaller cannot be read. */
  svg { width: 580px; }
  .axis { font-size: 16px; }
  .other { display: none; }
}
@media print { figure, .columns > div { break-inside: avoid; } }
"""
