// How the review queue looks. Only a served page bears this style.

const SHEET = `
.served { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: .4rem 0; margin: 0 0 .8rem; border-bottom: 1px solid var(--line); font: .9rem/1.4 var(--sans); }
mg-review, mg-review-feature, mg-review-finding { display: block; font-family: var(--sans); font-size: .95rem; line-height: 1.5; }
mg-review h2 { margin-top: 2.2rem; }
.rv-form { display: grid; gap: .45rem; max-width: 42rem; margin: .8rem 0; padding: .9rem 1rem; border: 1px solid var(--line); border-radius: 6px; background: var(--raised); }
.rv-form label, .rv-line label { font-weight: 600; font-size: .9rem; }
.rv-line { display: flex; flex-wrap: wrap; gap: .4rem .6rem; align-items: center; margin: .5rem 0; }
.rv-form input[type=text], .rv-form textarea, .rv-line input[type=text], .rv-line input[type=password] { font: inherit; width: 100%; padding: .4rem .55rem; color: var(--ink); background: var(--paper); border: 1px solid var(--soft); border-radius: 4px; }
.rv-line input { max-width: 18rem; }
mg-review button, mg-review-feature button, mg-review-finding button { font: inherit; padding: .35rem .8rem; border: 1px solid var(--link); border-radius: 5px; background: var(--raised); color: var(--link); cursor: pointer; }
mg-review button.main, mg-review-feature button.main { background: var(--link); color: var(--paper); font-weight: 600; }
mg-review button:disabled, mg-review-feature button:disabled, mg-review-finding button:disabled { opacity: .55; cursor: default; }
.rv-said { list-style: none; padding: 0; margin: .5rem 0; }
.rv-said li { padding: .35rem 0 .35rem .7rem; border-left: 3px solid var(--line); margin: .3rem 0; max-width: 42rem; }
.rv-said li.stands { border-left-color: var(--good); border-left-style: double; border-left-width: 6px; }
.rv-word { font-weight: 700; }
.rv-word.disputed { color: var(--open); } .rv-word.agreed, .rv-word.resolved { color: var(--good); }
.rv-trouble { color: var(--bad); font-weight: 600; }
.rv-trouble::before { content: "! "; }
.rv-pictures { display: flex; flex-wrap: wrap; gap: .6rem; margin: .6rem 0; }
.rv-pictures figure { margin: 0; width: 7.6rem; }
.rv-pictures img { width: 100%; height: auto; display: block; border-radius: 3px; }
.rv-pictures img.sharp { image-rendering: pixelated; }
.rv-pictures figcaption { font-size: .78rem; color: var(--soft); line-height: 1.3; }
.rv-table { overflow-x: auto; }
.rv-table table { border-collapse: collapse; min-width: 34rem; }
.rv-table th, .rv-table td { text-align: right; padding: .3rem .45rem; border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }
.rv-table th:first-child, .rv-table td:first-child { text-align: left; }
.rv-table td.act { white-space: nowrap; }
.rv-table td.act button { padding: .15rem .5rem; font-size: .8rem; margin-left: .3rem; }
@media (max-width: 48rem) {
  .rv-layers thead { display: none; }
  .rv-table.rv-layers table { min-width: 0; width: 100%; }
  .rv-layers tr { display: grid; grid-template-columns: 1fr 1fr; gap: .1rem 1rem; padding: .6rem 0; border-bottom: 1px solid var(--line); }
  .rv-layers th, .rv-layers td { border: 0; padding: .1rem 0; }
  .rv-layers th, .rv-layers td.act { grid-column: 1 / -1; text-align: left; white-space: normal; }
  .rv-layers td[data-name] { display: flex; justify-content: space-between; }
  .rv-layers td[data-name]::before { content: attr(data-name); color: var(--soft); }
  .rv-layers td.act button { padding: .4rem .8rem; margin: .3rem .4rem 0 0; }
}
.rv-reading { display: grid; gap: 0 2rem; }
@media (min-width: 62rem) {
  .rv-reading { grid-template-columns: minmax(0, 1fr) 19rem; }
  .rv-reading > mg-review-feature { position: sticky; top: 1rem; align-self: start; }
}
.rv-bar { display: block; height: .5rem; min-width: 6rem; border: 1px solid var(--soft); border-radius: 2px; background: linear-gradient(to right, var(--good) var(--twice), var(--link) var(--twice), var(--link) var(--once), transparent var(--once)); }
.rv-queue { display: flex; flex-wrap: wrap; gap: .3rem .9rem; padding: 0; list-style: none; }
fieldset.rv-verdict { border: 0; padding: 0; margin: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; }
@media print { .served, mg-review h2 { margin-top: 2.2rem; }
.rv-form { display: none; } }
`;

let worn = false;

export function wear(): void {
  if (worn) return;
  worn = true;
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(SHEET);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
}
