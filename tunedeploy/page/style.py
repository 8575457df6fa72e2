"""How the page looks: light or dark as the reader's system is, from a phone's width on."""

# No network and no script, whatever a label or a text holds: the browser itself refuses both.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

STYLE = """
:root{color-scheme:light dark;--page:#fff;--text:#1b1f24;--muted:#57606a;--line:#d5dbe1;--card:#f5f7f9;--accent:#0a62c9;
--second:#b35900;--good:#17702f;--bad:#c01c28;--on:#fff}
@media (prefers-color-scheme:dark){:root{--page:#0f1318;--text:#e4e8ec;--muted:#9aa5b0;--line:#323a43;--card:#181e25;
--accent:#6cb0ff;--second:#f2a65a;--good:#5cc977;--bad:#ff7b80;--on:#0f1318}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:78rem;padding:1.5rem 1rem 4rem;background:var(--page);color:var(--text);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:anywhere}
h1{font-size:2.1rem;line-height:1.15;margin:.1rem 0 .3rem}
h2{font-size:1.05rem;margin:0 0 .6rem}
p{margin:.3rem 0}
ul{margin:.3rem 0;padding-left:1.2rem}
code,pre{font:.9em/1.5 ui-monospace,"SF Mono",Menlo,Consolas,monospace}
pre{overflow-x:auto;overflow-wrap:normal;margin:.5rem 0}
.muted,figcaption,.bar small{color:var(--muted);font-size:.87rem}
.good{color:var(--good)}.off{color:var(--bad)}.bad{color:var(--bad);font-weight:600}
.grid{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:1rem;margin:1rem 0}
section{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1rem 1.1rem;min-width:0}
section.wide,.grid>section:last-child:nth-child(odd){grid-column:1/-1}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(22rem,100%),1fr));gap:1rem}
section.alarm{border-color:var(--bad);border-width:2px}
.file{font-size:1.05rem;font-weight:600;display:block;margin:.1rem 0 .4rem}
table{border-collapse:collapse;width:100%}
th{font-weight:600;color:var(--muted);font-size:.87rem}
td,th{border-bottom:1px solid var(--line);padding:.3rem .7rem .3rem 0;text-align:left;vertical-align:top}
tbody tr:last-child td{border-bottom:0}
td{font-variant-numeric:tabular-nums}
tr.chosen td{font-weight:600}
bdi{white-space:pre-wrap}
figure{margin:0}
svg{display:block;width:100%;height:auto;margin:0 auto}
svg text{font:13px system-ui,sans-serif;fill:var(--muted)}
svg .name{fill:var(--text)}
svg .frame{stroke:var(--line);fill:none}
svg .limit{stroke:var(--muted);stroke-dasharray:4 4;fill:none}
svg .first{stroke:var(--accent)}svg .second{stroke:var(--second)}
svg polyline{fill:none;stroke-width:2;stroke-linejoin:round}
svg .dot.first,.key.first{fill:var(--accent);background:var(--accent)}
svg .dot.second,.key.second{fill:var(--second);background:var(--second)}
svg .passed{fill:var(--muted);opacity:.6}svg .variant{fill-opacity:.55}
svg .best{stroke:var(--muted);stroke-dasharray:2 3}
svg .right{fill:var(--accent)}svg .wrong{fill:var(--bad)}
svg .count{fill:var(--text);text-anchor:middle}svg .count.strong{fill:var(--on)}
.key{display:inline-block;width:.7rem;height:.7rem;border-radius:50%;margin:0 .3rem 0 .8rem}
.key:first-child{margin-left:0}
.bar{display:grid;grid-template-columns:minmax(4rem,10rem) minmax(0,1fr) 5.5rem;gap:.1rem .7rem;align-items:center;
padding:.15rem 0}
.bar b{font-weight:500}
.bar i{display:block;height:.55rem;border-radius:.3rem;min-width:2px}
.bar i.first{background:var(--accent)}.bar i.second{background:var(--second)}
.bar small{text-align:right;line-height:1.1}
.bar span{display:grid;gap:2px}
img{display:block;width:96px;height:auto;border-radius:.3rem}
body>section{margin:1rem 0}
details{border-top:1px solid var(--line);padding:.6rem 0}
summary{cursor:pointer;font-weight:600}
details table{margin-top:.5rem}
@media (min-width:561px){.figures td:nth-child(n+3){
white-space:nowrap}td[data-head=right],td[data-head=given]{min-width:9rem}}
@media (max-width:860px){.grid{grid-template-columns:minmax(0,1fr)}}
@media (max-width:560px){h1{font-size:1.7rem}
table.stack thead{display:none}table.stack tr{display:block;border-bottom:1px solid var(--line);padding:.4rem 0}
table.stack tbody tr:last-child{border-bottom:0}
table.stack td{display:grid;grid-template-columns:5.4rem minmax(0,1fr);gap:.6rem;border:0;padding:.1rem 0}
table.stack td::before{content:attr(data-head);color:var(--muted);font-size:.87rem}
.bar{grid-template-columns:minmax(3rem,6.5rem) minmax(0,1fr) 4.8rem}}
@media print{body{max-width:none}section{break-inside:avoid}}
"""
