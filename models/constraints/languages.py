"""Which language a response is in."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from pydantic import Field

from models.base import Language
from models.constraints.base import BaseCheck
from models.constraints.states import FlagCheck, FlagTexts
from models.constraints.text import detect_language

# langdetect's 55 languages, and zh for either of its Chinese ones
LanguageCode = Literal[
    "af", "ar", "bg", "bn", "ca", "cs", "cy", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "gu", "he", "hi",
    "hr", "hu", "id", "it", "ja", "kn", "ko", "lt", "lv", "mk", "ml", "mr", "ne", "nl", "no", "pa", "pl", "pt", "ro",
    "ru", "sk", "sl", "so", "sq", "sv", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "vi", "zh", "zh-cn", "zh-tw",
]  # fmt: skip

_NAMES = (
    "Afrikaans 南非荷兰语,Arabic 阿拉伯语,Bulgarian 保加利亚语,Bengali 孟加拉语,Catalan 加泰罗尼亚语,"
    "Czech 捷克语,Welsh 威尔士语,Danish 丹麦语,German 德语,Greek 希腊语,English 英语,Spanish 西班牙语,"
    "Estonian 爱沙尼亚语,Persian 波斯语,Finnish 芬兰语,French 法语,Gujarati 古吉拉特语,Hebrew 希伯来语,"
    "Hindi 印地语,Croatian 克罗地亚语,Hungarian 匈牙利语,Indonesian 印度尼西亚语,Italian 意大利语,"
    "Japanese 日语,Kannada 卡纳达语,Korean 韩语,Lithuanian 立陶宛语,Latvian 拉脱维亚语,Macedonian 马其顿语,"
    "Malayalam 马拉雅拉姆语,Marathi 马拉地语,Nepali 尼泊尔语,Dutch 荷兰语,Norwegian 挪威语,Punjabi 旁遮普语,"
    "Polish 波兰语,Portuguese 葡萄牙语,Romanian 罗马尼亚语,Russian 俄语,Slovak 斯洛伐克语,"
    "Slovenian 斯洛文尼亚语,Somali 索马里语,Albanian 阿尔巴尼亚语,Swedish 瑞典语,Swahili 斯瓦希里语,"
    "Tamil 泰米尔语,Telugu 泰卢固语,Thai 泰语,Tagalog 他加禄语,Turkish 土耳其语,Ukrainian 乌克兰语,"
    "Urdu 乌尔都语,Vietnamese 越南语,Chinese 中文,Simplified_Chinese 简体中文,Traditional_Chinese 繁体中文"
)
LANGUAGE_NAMES: dict[str, tuple[str, str]] = {
    code: (english.replace("_", " "), chinese)
    for code, (english, chinese) in zip(
        get_args(LanguageCode), (pair.split() for pair in _NAMES.split(",")), strict=True
    )
}
"""The English and the Chinese name of each language."""


class ResponseLanguage(FlagCheck):
    """The main language of the response, as langdetect hears it.

    A response without anything to go by (digits, marks) counts as being in the language: so does IFEval.
    """

    kind: Literal["response_language"] = "response_language"
    language: LanguageCode = Field(description="langdetect's code of the language; zh is either Chinese.")

    texts: ClassVar[FlagTexts] = {
        ("en", "must"): (
            "Write your response in {name}.",
            "Answer in {name}, whatever language you are asked in.",
            "The language of your response must be {name}.",
        ),
        ("en", "must_not"): (
            "Write your response in any language other than {name}.",
            "Do not answer in {name}; use another language.",
            "The language of your response must not be {name}.",
        ),
        ("zh", "must"): (
            "请用{name}回复。",
            "无论用户使用什么语言，都请用{name}回答。",
            "你的回复所用的语言必须是{name}。",
        ),
        ("zh", "must_not"): (
            "请用{name}以外的语言回复。",
            "请不要用{name}回答，改用其他语言。",
            "你的回复所用的语言不得是{name}。",
        ),
    }

    def holds(self, response: str, query: str = "") -> bool:
        """Whether the detected language is this one, or none is detected."""
        detected = detect_language(response)
        if detected is None or detected == self.language:
            return True
        return self.language == "zh" and detected.startswith("zh-")

    def words(self, language: Language) -> dict[str, str]:
        """The name of the language."""
        return {"name": LANGUAGE_NAMES[self.language][0 if language == "en" else 1]}


CHECKS: tuple[type[BaseCheck], ...] = (ResponseLanguage,)
