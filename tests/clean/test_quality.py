"""Quality rules: each is reached by its own bad text, and good text passes all."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privllm.clean.quality import (
    STOP_WORDS,
    QualityConfig,
    duplicate_share,
    fault_of,
    garbage_of,
    has_spaced_words_only,
    ngram_bounds,
    ngram_shares,
    words_of,
)
from privllm.core.errors import UserError
from privllm.core.scripts import UNSPACED_BLOCKS, WORD_SEPARATORS

PROSE = (
    "Databases keep tables of rows, and with an index the engine finds a row without reading all of them. "
    "To build one you name the columns that your queries ask for most; writes become slower, since every change "
    "must be made twice, but reads have far less to look at. Measure before you decide, because small tables gain nothing."
)
WORDS = [f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(400)]
STOPPED = ["the", "and", *WORDS]

# A committee, its report, a house and a warehouse, in scripts with and without spaces between words.
OTHERS = {
    "zh": (
        "根据合同第十二条的规定，双方应当在收到通知之日起三十日内完成付款，否则将承担违约责任。乙方应当按照甲方的要求提"
        "供技术文件，并对其真实性和完整性负责。如果发生争议，双方应首先通过友好协商解决；协商不成的，任何一方均可向合同"
        "签订地人民法院提起诉讼。本合同一式两份，自双方签字盖章之日起生效。仓库管理员每天早上检查库存，并将缺货清单发送"
        "给采购部门。"
    ),
    "ja": (
        "契約書の第十二条に基づき、通知を受領した日から三十日以内に支払いを完了しなければならない。倉庫の担当者は毎朝在"
        "庫を確認し、不足している品目の一覧を購買部に送付する。会議は火曜日に開かれ、報告書が読み上げられた。丘の上の家"
        "は春に塗り直されることが決まった。新しい社員は最初の週に安全教育を受け、その後それぞれの部署に配属される。"
    ),
    "th": (
        "คณะกรรมการได้ประชุมกันในวันอังคารและอ่านรายงานประจำปี ที่ประชุมเห็นชอบให้ทาสีบ้านบนเนินเขาใหม่ในฤดูใบไม้ผลิ เจ"
        "้าหน้าที่คลังสินค้าจะตรวจสอบสต็อกทุกเช้าและส่งรายการสินค้าที่ขาดไปยังฝ่ายจัดซื้อ พนักงานใหม่จะได้รับการอบรมด้า"
        "นความปลอดภัยในสัปดาห์แรก"
    ),
    "ko": (
        "위원회는 화요일에 회의를 열고 보고서를 읽었다. 언덕 위의 집은 봄에 다시 칠하기로 결정되었다. 창고 담당자는 매일"
        " 아침 재고를 확인하고 부족한 품목의 목록을 구매부에 보낸다. 신입 사원은 첫 주에 안전 교육을 받고 그 후 각 부서"
        "에 배치된다. 계약서 제12조에 따라 통지를 받은 날부터 30일 이내에 지급을 완료해야 한다."
    ),
    "ar": (
        "اجتمعت اللجنة يوم الثلاثاء وقرأت التقرير السنوي. تقرر أن يُعاد طلاء المنزل الواقع على التل في فصل الربيع. يفحص"
        " أمين المستودع المخزون كل صباح ويرسل قائمة بالمواد الناقصة إلى قسم المشتريات. يتلقى الموظفون الجدد تدريبا على "
        "السلامة في الأسبوع الأول ثم يوزعون على الأقسام."
    ),
    "hi": (
        "समिति की बैठक मंगलवार को हुई और उसने वार्षिक रिपोर्ट पढ़ी। यह तय हुआ कि पहाड़ी पर बने मकान को वसंत में फिर से "
        "रंगा जाएगा। गोदाम का कर्मचारी हर सुबह स्टॉक की जाँच करता है और कम पड़ी वस्तुओं की सूची खरीद विभाग को भेजता है।"
        " नए कर्मचारियों को पहले सप्ताह में सुरक्षा प्रशिक्षण दिया जाता है।"
    ),
    "ru": (
        "Комитет собрался во вторник и прочитал отчёт. Было решено, что дом на холме весной покрасят заново. Сотрудник "
        "склада каждое утро проверяет запасы и отправляет список недостающих товаров в отдел закупок. Новые работники в"
        " первую неделю проходят инструктаж по безопасности, а затем распределяются по отделам."
    ),
    "de": (
        "Der Ausschuss trat am Dienstag zusammen und las den Bericht. Es wurde beschlossen, dass das Haus auf dem Hügel"
        " im Frühjahr neu gestrichen wird. Der Lagerist prüft jeden Morgen den Bestand und schickt die Liste der fehlen"
        "den Waren an den Einkauf. Neue Mitarbeiter erhalten in der ersten Woche eine Sicherheitsunterweisung."
    ),
    "fi": (
        "Valiokunta kokoontui tiistaina ja luki vuosikertomuksen. Päätettiin, että mäellä oleva talo maalataan uudellee"
        "n keväällä. Varastonhoitaja tarkistaa joka aamu varastotilanteen ja lähettää puuttuvien tavaroiden luettelon h"
        "ankintaosastolle. Uudet työntekijät saavat ensimmäisellä viikolla turvallisuuskoulutuksen."
    ),
    "ml": (
        "സമിതി ചൊവ്വാഴ്ച യോഗം ചേർന്ന് വാർഷിക റിപ്പോർട്ട് വായിച്ചു. കുന്നിൻമുകളിലുള്ള വീട് വസന്തകാലത്ത് വീണ്ടും പെയിന്റ്"
        " ചെയ്യാൻ തീരുമാനിച്ചു. ഗോഡൗൺ ജീവനക്കാരൻ എല്ലാ ദിവസവും രാവിലെ സ്റ്റോക്ക് പരിശോധിച്ച് കുറവുള്ള സാധനങ്ങളുടെ പട്ടി"
        "ക വാങ്ങൽ വിഭാഗത്തിന് അയയ്ക്കുന്നു. പുതിയ ജീവനക്കാർക്ക് ആദ്യ ആഴ്ചയിൽ സുരക്ഷാ പരിശീലനം നൽകുന്നു."
    ),
    "km": (
        "គណៈកម្មាធិការបានជួបប្រជុំនៅថ្ងៃអង្គារ ហើយបានអានរបាយការណ៍ប្រចាំឆ្នាំ។ បានសម្រេចថាផ្ទះនៅលើភ្នំនឹងត្រូវលាបពណ៌ឡើងវ"
        "ិញនៅរដូវផ្ការីក។ បុគ្គលិកឃ្លាំងពិនិត្យស្តុករៀងរាល់ព្រឹក ហើយផ្ញើបញ្ជីទំនិញដែលខ្វះទៅផ្នែកលទ្ធកម្ម។"
    ),
    "my": (
        "ကော်မတီသည် အင်္ဂါနေ့တွင် အစည်းအဝေးကျင်းပပြီး နှစ်ပတ်လည်အစီရင်ခံစာကို ဖတ်ရှုခဲ့သည်။ တောင်ကုန်းပေါ်ရှိ အိမ်ကို န"
        "ွေဦးရာသီတွင် ပြန်လည်ဆေးသုတ်ရန် ဆုံးဖြတ်ခဲ့သည်။ ဂိုဒေါင်ဝန်ထမ်းသည် နံနက်တိုင်း ကုန်ပစ္စည်းလက်ကျန်ကို စစ်ဆေးသည်။"
    ),
    "bo": (
        "ཚོགས་པ་དེ་གཟའ་མིག་དམར་ལ་ཚོགས་འདུ་ཚོགས་ནས་ལོ་འཁོར་གྱི་སྙན་ཐོ་བཀླགས་པ་རེད། རི་སྒང་གི་ཁང་པ་དེ་དཔྱིད་ཀར་ཚོན་གཏོང་ར"
        "ྒྱུ་ཐག་བཅད་པ་རེད། མཛོད་ཁང་གི་ལས་མི་དེས་ཉིན་ལྟར་ཞོགས་པར་ཞིབ་བཤེར་བྱེད་ཀྱི་རེད།"
    ),
    "vi": (
        "Ủy ban họp vào thứ ba và đọc báo cáo thường niên. Ngôi nhà trên đồi sẽ được sơn lại vào mùa xuân. Nhân viên kh"
        "o kiểm tra hàng tồn mỗi sáng và gửi danh sách hàng thiếu cho phòng mua. Nhân viên mới được huấn luyện an toàn "
        "trong tuần đầu tiên rồi được phân về các phòng ban."
    ),
    "he": (
        "הוועדה התכנסה ביום שלישי וקראה את הדוח השנתי. הוחלט שהבית על הגבעה ייצבע מחדש באביב. עובד המחסן בודק את המלאי "
        "בכל בוקר ושולח את רשימת הפריטים החסרים למחלקת הרכש. עובדים חדשים מקבלים הדרכת בטיחות בשבוע הראשון."
    ),
    "tr": (
        "Komite salı günü toplandı ve yıllık raporu okudu. Tepedeki evin ilkbaharda yeniden boyanmasına karar verildi. "
        "Depo görevlisi her sabah stokları kontrol eder ve eksik malların listesini satın alma bölümüne gönderir. Yeni "
        "çalışanlar ilk hafta güvenlik eğitimi alır."
    ),
}

BAD = [
    ("too_short", "Only a few words of the text and that is all"),
    ("mean_word_length", "the and " + " ".join("x" * 40 for _ in range(30))),
    ("symbol_ratio", "the and " + "# hash " * 30),
    ("too_few_stop_words", " ".join(WORDS)),
    ("few_alphabetic_words", "the and " + "123 456 " * 40),
    ("bullet_lines", "\n".join(f"• the {word} and {word}s" for word in WORDS)),
    ("ellipsis_lines", "\n".join(f"the {word} and more ..." for word in WORDS)),
    ("duplicate_lines", "the and\n" + "Buy now and save a lot of your hard earned money today\n" * 20),
    ("duplicate_paragraphs", "\n\n".join([PROSE] * 4).replace("\n\n", "\n\n", 1).replace(". ", ".\n")),
    ("top_ngram", " ".join(f"the {word} and buy now" for word in WORDS)),
    ("duplicate_ngrams", " ".join([" ".join(STOPPED)] * 4)),
    ("lorem_ipsum", "Lorem ipsum dolor sit amet, consectetur adipiscing elit, the and " + " ".join(WORDS[:30])),
    (
        "javascript",
        "You need to enable JavaScript to run this app and to see the page that you have asked for, so please do that with your browser.",
    ),
]


@pytest.mark.parametrize(("reason", "text"), BAD)
def test_each_rule_has_a_text_that_breaks_it(reason: str, text: str) -> None:
    strict = QualityConfig(max_duplicate_lines=1.0) if reason == "duplicate_paragraphs" else QualityConfig()
    found = fault_of(strict, text, "en")
    assert found is not None
    assert found[0] == reason


def test_too_long_only_where_asked() -> None:
    assert fault_of(QualityConfig(max_words=10, min_words=5), PROSE, "en") == (
        "too_long",
        f"{len(PROSE.split())} words, at most 10",
    )


def test_prose_passes() -> None:
    assert fault_of(QualityConfig(), PROSE, "en") is None


def test_reference_page_passes() -> None:
    methods = "\n".join(
        f"{word}(self, {WORDS[i + 90]}, {WORDS[i + 200]}=None)\n    Return the {word} of this {WORDS[i + 90]}.\n"
        for i, word in enumerate(WORDS[:60])
    )
    assert (
        fault_of(QualityConfig(), f"Help on module shapes, to be read with the tutorial.\n\nClasses\n\n{methods}", "en")
        is None
    )


def test_stop_words_are_asked_of_english_only() -> None:
    text = " ".join(WORDS)
    assert fault_of(QualityConfig(), text, "de") is None
    assert fault_of(QualityConfig(), text, "") is None  # too short to tell, or of no known language
    assert fault_of(QualityConfig(), text, "en") == ("too_few_stop_words", "0 of 8, at least 2")


@pytest.mark.parametrize("text", [PROSE, *OTHERS.values(), "x", "3.50 EUR", "ཀ་ཁ་ག"])
def test_no_text_is_garbage(text: str) -> None:
    assert garbage_of(text) is None


@given(st.text(st.sampled_from("aé漢1_-~ \n\u00a0\u0301"), min_size=1, max_size=40).filter(str.strip))
def test_garbage_has_few_letters_and_digits(text: str) -> None:
    shown = [character for character in text if not character.isspace()]
    share = sum(map(str.isalnum, shown)) / len(shown)
    fault = garbage_of(text)
    assert (fault[0] if fault else None) == ("garbage" if share < 0.1 else None)


@pytest.mark.parametrize("language", OTHERS)
def test_prose_of_any_language_and_script_passes(language: str) -> None:
    assert fault_of(QualityConfig(), OTHERS[language], language) is None
    assert fault_of(QualityConfig(), OTHERS[language], "") is None


def test_a_letter_of_a_script_without_spaces_is_a_word_with_its_marks() -> None:
    assert words_of("abc 日本語def ก็ดี") == (["abc", "日", "本", "語def", "ก็", "ดี"], ["abc"])
    assert words_of("ကော်မတီ ཚོགས།")[0] == ["ကော်", "မ", "တီ", "ཚོ", "ག", "ས།"]
    assert words_of("naïve מילה 안녕 नमस्ते")[0] == ["naïve", "מילה", "안녕", "नमस्ते"]
    assert words_of("ሁሉም\u1361ሰው፡ነፃ")[0] == ["ሁሉም", "ሰው", "ነፃ"]


def test_a_text_that_surely_has_spaced_words_only_is_told_character_by_character() -> None:
    """All of the basic plane; what lies beyond is looked at more closely."""
    for point in range(0x10000):
        text = f"a{chr(point)}b"
        is_other = any(first <= point <= last for first, last in UNSPACED_BLOCKS) or chr(point) in WORD_SEPARATORS
        assert has_spaced_words_only(text) == (not is_other and not 0xD800 <= point < 0xE000), hex(point)
    assert not has_spaced_words_only("a\U00020000b")


def test_scripts_without_spaces_have_rules_too() -> None:
    assert fault_of(QualityConfig(), "日本語の短い文", "ja") == ("too_short", "7 words, at least 20")
    assert fault_of(QualityConfig(), "今すぐ買う" * 20, "ja") == ("top_ngram", "0.80 of all characters, at most 0.2")
    mixed = "日本 " + "x" * 40 + (" " + "y" * 40) * 19
    assert fault_of(QualityConfig(), mixed, "ja") == ("mean_word_length", "40.0 characters, 2.5 to 14")


def test_ranges() -> None:
    with pytest.raises(UserError, match=r"clean\.quality\.max_top_ngram"):
        QualityConfig(max_top_ngram=1.5)


def test_duplicate_share() -> None:
    assert duplicate_share([]) == 0.0
    assert duplicate_share(["aa", "aa", "bb"]) == pytest.approx(1 / 3)


def slow_shares(words: list[str]) -> tuple[float, float]:
    total = sum(map(len, words))
    top = 0
    for size in (2, 3, 4):
        grams = Counter(tuple(words[i : i + size]) for i in range(len(words) - size + 1))
        most = max(grams.values())
        if most > 1:
            gram = next(gram for gram, number in grams.items() if number == most)
            top = max(top, most * sum(map(len, gram)))
    seen: set[tuple[str, ...]] = set()
    covered: set[int] = set()
    for i in range(len(words) - 7):
        gram = tuple(words[i : i + 8])
        if gram in seen:
            covered.update(range(i, i + 8))
        seen.add(gram)
    return min(1.0, top / total), sum(len(words[i]) for i in covered) / total


@pytest.mark.slow
@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=8, max_size=60))
@settings(max_examples=300, deadline=None)
def test_ngram_shares_against_the_obvious(words: list[str]) -> None:
    assert ngram_shares(words) == pytest.approx(slow_shares(words))


def test_ngram_shares_of_few_words() -> None:
    assert ngram_shares(["a"] * 7) == ngram_bounds(["a"] * 7) == (0.0, 0.0)


@given(st.lists(st.sampled_from(["a", "bb", "ccc", "dddd", "the", "of"]), min_size=8, max_size=80))
@settings(max_examples=300, deadline=None)
def test_ngram_bounds_are_never_below_the_shares(words: list[str]) -> None:
    for bound, share in zip(ngram_bounds(words), ngram_shares(words), strict=True):
        assert bound >= share


def test_ngram_bounds_spare_prose_the_shares() -> None:
    top, duplicates = ngram_bounds(PROSE.split())
    assert top < QualityConfig().max_top_ngram
    assert duplicates < QualityConfig().max_duplicate_ngrams


WORD = st.sampled_from(["The", "the", "OF", "of", "and", "x1", "12", "--", "3.5", "été", "漢", "b-2", "word"])


@given(st.lists(WORD, min_size=20, max_size=40), st.integers(0, 4), st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]))
def test_rules_of_words_against_the_obvious(words: list[str], stop_words: int, share: float) -> None:
    cfg = QualityConfig(min_stop_words=stop_words, min_alphabetic_words=share, min_mean_word_length=0)
    fault = fault_of(cfg, " ".join(words), "en")
    found = {word.lower() for word in words} & STOP_WORDS
    alphabetic = sum(any(map(str.isalpha, word)) for word in words) / len(words)
    assert (fault is not None and fault[0] == "too_few_stop_words") == (len(found) < stop_words)
    if len(found) >= stop_words:
        assert (fault is not None and fault[0] == "few_alphabetic_words") == (alphabetic < share)
