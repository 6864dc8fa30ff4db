"""Roles that make or read images, video or audio, which answers in text cannot do: the paper leaves them out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

Media = Literal["image", "video", "audio"]


class MediaFound(NamedTuple):
    """What a role is about that is no text."""

    media: Media
    words: str
    """The words that say so."""


_DONE_EN = (
    r"\b(?:generat|creat|render|edit|design|produc|mak|analy[sz]|describ|upload|transform|convert|enhanc|retouch"
    r"|draw|paint|animat|record|compos|transcrib|stitch|recogni[sz])(?:e?s|ed|e|ing)?\s+(?:\S+\s+){0,2}?"
)
_DONE_ZH = "(?:生成|制作|绘制|创作|创建|编辑|剪辑|设计|分析|识别|上传|处理|转换|修复|渲染)[^，。；！？\n]{0,6}?"

_NOUNS_EN: dict[Media, str] = {
    "image": r"(?:images?|pictures?|photos?|photographs?|illustrations?|logos?|icons?|wallpapers?|drawings?|paintings?"
    r"|artworks?|posters?|thumbnails?|avatars?|mock-?ups?)",
    "video": r"(?:videos?|video clips?|animations?|movies?|films?|reels?|gifs?)",
    "audio": r"(?:audio|music|sounds?|voice-?overs?|speech|soundtracks?|melod(?:y|ies)|podcasts?|recordings?)",
}
_NOUNS_ZH: dict[Media, str] = {
    "image": "(?:图像|图片|照片|插画|插图|海报|头像|壁纸|表情包|图标|标志|画作|漫画)",
    "video": "(?:视频|短片|动画|影片|短视频)",
    "audio": "(?:音频|语音|音乐|配音|音效|旋律|播客|录音)",
}
_TOOLS: dict[Media, str] = {
    "image": r"dall[-·\s]?e\b|midjourney|stable diffusion|text[- ]to[- ]image|photoshop"
    "|文生图|生图|绘图|绘画|作画|画图",
    "video": r"text[- ]to[- ]video|\bsora\b|premiere pro|after effects|文生视频|视频剪辑",
    "audio": r"text[- ]to[- ]speech|\btts\b|\bsuno\b|文字转语音|语音合成|作曲|编曲",
}
_IN_NAME: dict[Media, str] = {
    # in a name the noun is enough: a "Logo Maker" makes nothing else
    "image": r"\b(?:images?|photos?|pictures?|logos?|illustrat\w+|wallpapers?|avatars?|posters?)\b"
    "|图像|图片|照片|插画|海报|头像|壁纸",
    "video": r"\b(?:videos?|animat\w+)\b|视频|动画",
    "audio": r"\b(?:audio|voice-?overs?|music (?:maker|generator|composer))\b|音频|配音|语音",
}
# parts of the words above, for a first look that costs next to nothing
_HINT_WORDS: dict[Media, str] = {
    "image": "image picture photo illustrat logo icon wallpaper drawing painting artwork poster thumbnail avatar mock "
    "dall midjourney diffusion 图 照片 插画 海报 头像 壁纸 表情包 标志 画",
    "video": "video animat movie film reel gif sora premiere effects 视频 短片 动画 影片",
    "audio": "audio music sound voice speech melod podcast recording tts suno 音 旋律 播客 作曲 编曲",
}
_HINTS = {media: words.split() for media, words in _HINT_WORDS.items()}
_NAMES = {media: re.compile(f"{_IN_NAME[media]}|{_TOOLS[media]}", re.IGNORECASE) for media in _TOOLS}
_TEXTS = {
    media: re.compile(rf"{_DONE_EN}\b{_NOUNS_EN[media]}\b|{_DONE_ZH}{_NOUNS_ZH[media]}|{_TOOLS[media]}", re.IGNORECASE)
    for media in _TOOLS
}


def find_media(name: str, text: str, among: Sequence[Media] = get_args(Media)) -> MediaFound | None:
    """What of some media a role makes or reads, by the words of its name and its description; None: nothing."""
    both = f"{name}\n{text}".lower()
    for media in among:
        if not any(hint in both for hint in _HINTS[media]):
            continue
        if found := _NAMES[media].search(name) or _TEXTS[media].search(text):
            return MediaFound(media, " ".join(found[0].split())[:60])
    return None
