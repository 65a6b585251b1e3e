"""One page that holds everything: pictures, numbers and tables, in light and dark, with nothing to load."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from einops_arch._html import page
from einops_arch.cli.demo.data import Array
from einops_arch.cli.demo.pictures import chosen_digits, crops, denoised_crops, png
from einops_arch.parity.report.report import Report
from einops_arch.parity.report.text import COLUMNS, cells

__all__ = ["write_page"]

_CODE = """model = ConvNet(ConvNetConfig.digits())      # PyTorch, trained as usual
twin = to_flax(model)                        # its Flax twin, with the same weights
compare(model, twin, digits).passed          # True: the same function, in float64"""


def write_page(path: Path, report: dict[str, Any], seen: dict[str, Any]) -> None:
    """Write the page.

    Args:
        path: the file.
        report: the numbers, as `report.json` has them.
        seen: the images and the parity reports.
    """
    digits, photograph = report["digits"], report["photograph"]
    accuracy, psnr = digits["accuracy"], photograph["psnr"]
    gain = psnr["torch"] - psnr["bicubic"]
    tensors = digits["round_trip"]["tensors"] + photograph["round_trip"]["tensors"]
    changed = len(digits["round_trip"]["changed"]) + len(photograph["round_trip"]["changed"])
    difference, scale = digits["largest_float32_difference"], digits["largest_output"]
    tiles = [
        (f"{digits['equal_predictions']} of {digits['tested_on']}", "test digits read alike by PyTorch and Flax"),
        (_both(accuracy, "{:.1%}"), "of them right"),
        (f"{_both(psnr, '{:.2f}')} dB", f"PSNR of the enlarged photograph, {gain:+.2f} dB against bicubic"),
        (f"{difference:.0e}", f"largest difference of two outputs in float32; outputs go up to {scale:.0f}"),
        (f"{tensors - changed} of {tensors}", "tensors of weights bit for bit the same after the way to Flax and back"),
    ]
    mistakes = digits["tested_on"] - round(accuracy["torch"] * digits["tested_on"])
    names = " ".join(f"{name} {number}" for name, number in report["versions"].items())
    verdict = "the same function" if report["passed"] else "NOT the same function"
    body = Template(_BODY).substitute(
        verdict=verdict,
        state="good" if report["passed"] else "bad",
        tiles="".join(f"<li><strong>{escape(value)}</strong><span>{escape(text)}</span></li>" for value, text in tiles),
        code=escape(_CODE),
        trained_on=f"{digits['trained_on']:,}",
        tested_on=digits["tested_on"],
        mistakes="no mistake" if not mistakes else f"{mistakes} mistake{'s' * (mistakes != 1)}",
        digits=_digits(seen["digits"]),
        factor=photograph["config"]["factor"],
        held_out=photograph["tested_on"],
        photographs=", ".join(photograph["trained_on"]),
        crops="".join(_crop(*crop) for crop in crops(seen["photograph"])),
        denoised="".join(_crop(*crop) for crop in denoised_crops(seen["denoised"])),
        translated=_translated(report["translated"], seen["denoised"]["translation"].source),
        convnet=_tables(seen["digits"]["parity"]),
        super_resolution=_tables(seen["photograph"]["parity"]),
        files=" ".join(
            f"<code>{escape(name)}</code>" for part in (digits, photograph) for name in part["round_trip"]["files"]
        ),
        seconds=report["seconds"],
        versions=escape(names),
    )
    path.write_text(page(f"PyTorch to Flax: {verdict}", [body.rstrip()], _STYLE, images=True), encoding="utf-8")


def _both(values: dict[str, float], form: str) -> str:
    """One number where both frameworks give it, else two."""
    torch_text, flax_text = (form.format(values[side]) for side in ("torch", "flax"))
    return torch_text if torch_text == flax_text else f"{torch_text} | {flax_text}"


def _digits(digits: dict[str, Any]) -> str:
    figures = []
    for place in chosen_digits(digits):
        torch_answer, flax_answer, label = (int(digits[name][place]) for name in ("torch", "flax", "labels"))
        wrong = (torch_answer, flax_answer) != (label, label)
        caption = f"<b>{torch_answer}</b> <b>{flax_answer}</b>" + (f" <i>is {label}</i>" if wrong else "")
        image = _image(1 - digits["images"][place], f"a handwritten {label}", 2)
        figures.append(
            f'<figure class="{"wrong" if wrong else "right"}">{image}<figcaption>{caption}</figcaption></figure>'
        )
    return "".join(figures)


def _crop(title: str, image: Array, psnr: float | None) -> str:
    caption = f"<b>{escape(title)}</b>" + ("" if psnr is None else f" {psnr:.2f} dB")
    return f"<figure>{_image(image, title, 2)}<figcaption>{caption}</figcaption></figure>"


def _image(image: Array, text: str, scale: int) -> str:
    data = base64.b64encode(png(image, scale)).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{data}">'


def _translated(translated: dict[str, Any], source: str) -> str:
    """The proof in its own words, and the file that was written."""
    rows = "".join(f"<li>{escape(line)}</li>" for line in translated["proof"])
    return (
        f"<p>The proof:</p><ul>{rows}</ul>"
        f"<details><summary>unet.py, as it was written</summary><pre><code>{escape(source)}</code></pre></details>"
    )


def _tables(report: Report) -> str:
    parts = []
    for name, rows in report.sections.items():
        if rows:
            head = "".join(f"<th>{escape(column)}</th>" for column in COLUMNS)
            body = "".join(
                f'<tr class="{"good" if row.verdict.passed else "bad"}">'
                + "".join(f"<td>{escape(cell)}</td>" for cell in cells(row))
                + "</tr>"
                for row in rows
            )
            table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
            is_open = " open" if name == "modules" else ""
            parts.append(f"<details{is_open}><summary>{name} ({len(rows)})</summary>{table}</details>")
    return "".join(parts)


_STYLE = """
main { padding: 48px 24px 72px; }
h2 { font-size: 1.3rem; margin: 56px 0 8px; letter-spacing: -0.01em; }
p { margin: 0 0 16px; max-width: 72ch; }
.soft, footer { color: var(--soft); }
.good-text { color: var(--good); } .bad-text { color: var(--bad); }
.tiles { list-style: none; margin: 32px 0; padding: 0; display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); }
.tiles li { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: 16px; }
.tiles strong { display: block; font-size: 1.45rem; letter-spacing: -0.01em; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--soft); font-size: 0.9rem; line-height: 1.4; display: block; }
pre, code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: 16px 20px;
  overflow-x: auto; font-size: 0.88rem; line-height: 1.6; margin: 0 0 16px; }
code { font-size: 0.88em; overflow-wrap: anywhere; }
figure { margin: 0; }
.digits { display: grid; gap: 10px; grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); }
.digits figure { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 8px;
  text-align: center; }
.digits img { width: 100%; image-rendering: pixelated; border-radius: 4px; display: block; }
.digits figcaption { font-variant-numeric: tabular-nums; color: var(--good); padding-top: 4px; font-size: 0.95rem; }
.digits b { padding: 0 5px; }
.digits .wrong { border-color: var(--bad); } .digits .wrong figcaption { color: var(--bad); }
.digits i { font-style: normal; font-size: 0.8rem; white-space: nowrap; }
.crops { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); }
.crops img { width: 100%; image-rendering: pixelated; border-radius: 8px; display: block; }
.crops figcaption { padding-top: 6px; font-size: 0.95rem; font-variant-numeric: tabular-nums; }
details { margin: 8px 0; }
summary { cursor: pointer; padding: 6px 0; color: var(--accent); }
h3 { font-size: 1.05rem; margin: 24px 0 4px; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 10px; background: var(--panel); }
th, td { padding: 7px 12px; white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; }
td:nth-child(n+4):nth-child(-n+8), th:nth-child(n+4):nth-child(-n+8) { text-align: right; }
tr.good td:last-child { color: var(--good); } tr.bad td:last-child { color: var(--bad); font-weight: 600; }
footer { margin-top: 56px; border-top: 1px solid var(--line); padding-top: 16px; font-size: 0.88rem; }
"""

_BODY = """<h1>Trained in PyTorch, running in Flax</h1>
<p class="soft">Two networks, trained in PyTorch on real images and ported to Flax. Verdict:
<strong class="$state-text">$verdict</strong>.</p>
<ul class="tiles">$tiles</ul>
<pre><code>$code</code></pre>

<h2>Handwritten digits</h2>
<p>A ConvNet learned from $trained_on of scikit-learn's digits and reads the other $tested_on. Under each digit:
what PyTorch reads, what Flax reads. It makes $mistakes, framed in red and shown first.</p>
<div class="digits">$digits</div>

<h2>A photograph, enlarged $factor times</h2>
<p>A super-resolution network (ESPCN) learned from the brightness of the photographs $photographs of scikit-image.
It has never seen this one, $held_out, which was reduced $factor times and enlarged again. PSNR is that of the whole
photograph's brightness; colours are bicubic in all three.</p>
<div class="crops">$crops</div>

<h2>A network that has no twin</h2>
<p>A small U-Net, written in plain PyTorch, learned to take noise out of the same photographs. Nobody wrote it in Flax:
<code>translate</code> did, as source with the same module paths, and proved that both compute the same.</p>
<div class="crops">$denoised</div>
$translated

<h2>Parity</h2>
<p>Both networks of a pair run in float64, which decides what is computed, and in float32, which shows how it is
rounded. Column <em>float64</em> is the difference of the two, relative to the size of the result; the errors are those
of float32 against float64, and their ratio says whether one framework rounds worse than the other.</p>
<h3>ConvNet</h3>
$convnet
<h3>Super-resolution</h3>
$super_resolution

<footer>
<p>The weights are beside this page: $files, and every number in <code>report.json</code>.</p>
<p>$seconds seconds. $versions</p>
</footer>
"""
