"""Office documents and books made by hand, of the XML that matters."""

import io
import zipfile
from urllib.parse import quote

OOXML = "http://schemas.openxmlformats.org/"
RELATIONSHIPS = f"{OOXML}officeDocument/2006/relationships"
NAMESPACES = (
    f'xmlns:w="{OOXML}wordprocessingml/2006/main" xmlns:a="{OOXML}drawingml/2006/main" '
    f'xmlns:p="{OOXML}presentationml/2006/main" xmlns:r="{RELATIONSHIPS}" '
    f'xmlns:m="{OOXML}officeDocument/2006/math" xmlns:mc="{OOXML}markup-compatibility/2006" '
    f'xmlns:dgm="{OOXML}drawingml/2006/diagram"'
)
ODF = "urn:oasis:names:tc:opendocument:xmlns:"
ODF_NAMESPACES = " ".join(
    f'xmlns:{name}="{ODF}{ {"draw": "drawing", "svg": "svg-compatible"}.get(name, name) }:1.0"'
    for name in ("office", "text", "table", "style", "meta", "manifest", "presentation", "draw", "svg")
)
ODF_NAMESPACES += (
    ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xlink="http://www.w3.org/1999/xlink"'
    ' xmlns:math="http://www.w3.org/1998/Math/MathML"'
)
CORE = (
    '<c:coreProperties xmlns:c="urn:core" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:dcterms="http://purl.org/dc/terms/"><dc:title>On harbours</dc:title><dc:creator>A. Keeper</dc:creator>'
    "<dcterms:created>2026-11-26T04:23:00Z</dcterms:created></c:coreProperties>"
)
ODF_META = (
    f"<office:document-meta {ODF_NAMESPACES}><office:meta><dc:title>On harbours</dc:title>"
    "<meta:initial-creator>A. Keeper</meta:initial-creator>"
    "<meta:creation-date>2026-11-26T04:23:00</meta:creation-date></office:meta></office:document-meta>"
)


def zip_of(parts: dict[str, str | bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def relationships(targets: dict[str, tuple[str, str]]) -> str:
    """The .rels part of {id: (kind, target)}."""
    entries = "".join(
        f'<Relationship Id="{name}" Type="{RELATIONSHIPS}/{kind}" Target="{target}"/>'
        for name, (kind, target) in targets.items()
    )
    return f'<Relationships xmlns="{OOXML}package/2006/relationships">{entries}</Relationships>'


def ooxml(main: str, parts: dict[str, str]) -> bytes:
    """A package whose main part is `main`."""
    fixed = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relationships({"r1": ("officeDocument", main)}),
        "docProps/core.xml": CORE,
    }
    return zip_of({**fixed, **parts})


def docx_of(body: str, **parts: str) -> bytes:
    """A Word document; `parts` are the contents of word/NAME.xml."""
    others = {f"word/{name}.xml": f"<w:{name} {NAMESPACES}>{xml}</w:{name}>" for name, xml in parts.items()}
    document = f"<w:document {NAMESPACES}><w:body>{body}</w:body></w:document>"
    return ooxml("word/document.xml", {"word/document.xml": document, **others})


def paragraph(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def pptx_of(*slides: str, attributes: str = "", parts: dict[str, str] | None = None) -> bytes:
    """A presentation of slides by the XML of their shapes; it names them from last to first, and shows them in order."""
    numbers = range(len(slides), 0, -1)
    ids = "".join(f'<p:sldId r:id="s{number}"/>' for number in sorted(numbers))
    related = relationships({f"s{number}": ("slide", f"slides/slide{number}.xml") for number in numbers})
    made = {
        "ppt/presentation.xml": f"<p:presentation {NAMESPACES}><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": related,
    }
    for number in numbers:
        made[f"ppt/slides/slide{number}.xml"] = slide_of(slides[number - 1], attributes)
    return ooxml("ppt/presentation.xml", {**made, **(parts or {})})


def slide_of(shapes: str, attributes: str = "", kind: str = "sld") -> str:
    tree = f"<p:cSld><p:spTree>{shapes}</p:spTree></p:cSld>"
    return f"<p:{kind} {NAMESPACES} {attributes}>{tree}</p:{kind}>"


def shape(paragraphs: str, placeholder: str = "", attributes: str = "") -> str:
    names = f'<p:nvSpPr><p:cNvPr id="1" name="a" {attributes}/><p:nvPr>{placeholder}</p:nvPr></p:nvSpPr>'
    return f"<p:sp>{names}<p:txBody>{paragraphs}</p:txBody></p:sp>"


def lines(*texts: str, properties: str = "") -> str:
    return "".join(f"<a:p>{properties}<a:r><a:t>{text}</a:t></a:r></a:p>" for text in texts)


def xlsx_of(*sheets: str, strings: str = "", styles: str = "", states: tuple[str, ...] = (), own: str = "") -> bytes:
    """A workbook of sheets by the XML in them, named Sheet1 and so on."""
    names = [f"Sheet{number}" for number in range(1, len(sheets) + 1)]
    entries = ""
    for name, state in zip(names, states or ("visible",) * len(names), strict=True):
        entries += f'<sheet name="{name}" r:id="{name}" state="{state}"/>'
    space = f'xmlns="{OOXML}spreadsheetml/2006/main" xmlns:r="{RELATIONSHIPS}"'
    targets = {name: ("worksheet", f"/xl/worksheets/{name}.xml") for name in names}
    targets |= {"a": ("styles", "styles.xml"), "b": ("sharedStrings", "sharedStrings.xml")}
    parts = {
        "xl/workbook.xml": f"<workbook {space}>{own}<sheets>{entries}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": relationships(targets),
        "xl/sharedStrings.xml": f"<sst {space}>{strings}</sst>",
        "xl/styles.xml": f"<styleSheet {space}>{styles}</styleSheet>",
    }
    for name, xml in zip(names, sheets, strict=True):
        parts[f"xl/worksheets/{name}.xml"] = f"<worksheet {space}>{xml}</worksheet>"
    return ooxml("xl/workbook.xml", parts)


def odf_of(kind: str, body: str, styles: str = "", manifest: str = "", parts: dict[str, str] | None = None) -> bytes:
    """An OpenDocument file of a kind ("text", "spreadsheet", "presentation")."""
    content = (
        f"<office:document-content {ODF_NAMESPACES}><office:automatic-styles>{styles}</office:automatic-styles>"
        f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>"
    )
    listed = f"<manifest:manifest {ODF_NAMESPACES}>{manifest}</manifest:manifest>"
    fixed = {"content.xml": content, "meta.xml": ODF_META, "META-INF/manifest.xml": listed}
    return zip_of({"mimetype": f"application/vnd.oasis.opendocument.{kind}", **fixed, **(parts or {})})


def epub_of(
    chapters: dict[str, str | bytes], items: str = "", spine: str = "", metadata: str = "", **others: str
) -> bytes:
    """A book of chapters by their paths below OEBPS/; `items`, `spine` and `metadata` add to its lists."""
    entries, order = items, spine
    for number, name in enumerate(chapters):
        entries += f'<item id="c{number}" href="{quote(name)}" media-type="application/xhtml+xml"/>'
        order += f'<itemref idref="c{number}"/>'
    about = f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">{metadata}</metadata>'
    lists = f"{about}<manifest>{entries}</manifest><spine>{order}</spine>"
    package = (
        f'<package xmlns="http://www.idpf.org/2007/opf" xmlns:opf="http://www.idpf.org/2007/opf">{lists}</package>'
    )
    container = (
        f'<container xmlns="{ODF}container"><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
    )
    parts = {"META-INF/container.xml": container, "OEBPS/book.opf": package}
    parts |= {f"META-INF/{name}.xml": xml for name, xml in others.items()}
    return zip_of(
        {"mimetype": "application/epub+zip", **parts, **{f"OEBPS/{name}": xml for name, xml in chapters.items()}}
    )
