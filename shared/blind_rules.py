"""What must not reach a reviewer, as data: names of models, eponyms that stay, sentences that grade.

All patterns but `FOREIGN_SCRIPTS` are matched on a skeleton of the text (`shared.blind.skeleton`: lower case,
no accents, lookalikes as Latin letters). The rules on grading see a sentence only after `CLINICAL` has been
taken out of it: "grade 2 hypertension", "pain score 7/10" and the like are no instruction to anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split("|"))


def _any(words: Iterable[str]) -> str:
    """Any of the words, sorted by first letter, since `re` tries one alternative after the other."""
    ends: dict[str, list[str]] = {}
    for word in words:
        first = 1 + word.startswith("\\")
        ends.setdefault(word[:first], []).append(word[first:])
    return "(?:" + "|".join(f"{letter}(?:{'|'.join(some)})" for letter, some in ends.items()) + ")"


def _at_words(*rules: str) -> str:
    """Any of the rules where a word begins; each begins with `(?:word|word|…)`, no brackets within these.

    One look tells that with most words of a text no rule begins.
    """
    first = [word for rule in rules for word in rule[3 : rule.index(")")].split("|")]
    return rf"\b(?={_any(first)})(?:{'|'.join(rules)})"


MAKERS = _names(
    "gpt|chatgpt|gpt oss|o1 preview|o1 mini|o3 mini|o4 mini|openai|anthropic|claude|gemini|gemma|"
    "medgemma|deepmind|google|med palm|palm 2|google bard|meta ai|meta llama|llama|mistral|mixtral|"
    "ministral|codestral|pixtral|biomistral|qwen|alibaba|tongyi|deepseek|grok|xai|cohere command|"
    "command r plus|microsoft|copilot|phi 2|phi 3|phi 4|nvidia|nemotron|amazon nova|amazon titan|"
    "aws bedrock|hugging face|vicuna|alpaca|falcon 40b|falcon 180b|baichuan|internlm|chatglm|glm 4|"
    "zhipu|ernie bot|moonshot ai|kimi|yi 34b|stability ai|stablelm|perplexity ai|ai21|jamba|dbrx|olmo|"
    "meditron|openbiollm|palmyra|inflection ai|aleph alpha|ibm granite|watsonx|wizardlm|openchat"
)
"""Makers and products that are scrubbed whether or not they are in the registry."""

_EPONYMS = (
    "parkinson|alzheimer|bell|claude|bernard|horner|crohn|graves|grave|addison|cushing|hashimoto|"
    "hodgkin|raynaud|sjogren|wilson|marfan|down|turner|huntington|tourette|meniere|paget|wegener|"
    "behcet|kawasaki|barre|eaton|wernicke|korsakoff|barrett|weiss|ellison|conn|gilbert|still|felty|"
    "reiter|whipple|hirschsprung|chagas|lyme|hansen|pott|dupuytren|peyronie|lewy|charcot|brugada|"
    "prinzmetal|murphy|babinski|romberg|trousseau|chvostek|kernig|brudzinski|lhermitte|phalen|tinel|"
    "willebrand|fanconi|bartter|gitelman|liddle|alport|goodpasture|berger|wilms|ewing|kaposi|burkitt|"
    "waldenstrom|bowen|lynch|gardner|jeghers|cowden|nelson|sheehan|kallmann|klinefelter|noonan|"
    "angelman|willi|rett|dravet|gastaut|kleffner|rasmussen|jakob|pick|devic|fisher|hunt|todd|adie|"
    "robertson"
)
_AFTER_EPONYM = (
    "disease|syndrome|palsy|paralysis|sign|phenomenon|anomaly|thyroiditis|lymphoma|sarcoma|tumou?r|"
    "dementia|chorea|encephalopathy|psychosis|ulcer|contracture|test|triad|reflex|reaction|fever|"
    "o?esophagus|body|bodies|nephropathy|orbitopathy|ophthalmopathy|arthropathy|angina|ataxia|pupil|"
    "criteria|nodes?|lesion|crisis|factor|plus|patients?"
)
_USED_ALONE = (
    "parkinson|alzheimer|crohn|graves|hodgkin|raynaud|huntington|hashimoto|sjogren|bell|addison|cushing"
)
_NOT_CLINICAL = (
    "i|answer|recommendation|opinion|view|list|response|team|model|rationale|plan|output|reply|labs?"
)
KEPT = (
    # "Bell palsy"; "her Parkinson's" but not "Parkinson's answer"; compounds; GPT as a name of ALT
    rf"\b(?:(?:{_EPONYMS})(?:'s|s'|s)?[ -](?:{_AFTER_EPONYM})\b"
    rf"|(?:{_USED_ALONE})(?:'s\b|(?<=s)'(?!s))(?!,?\s*(?:{_NOT_CLINICAL})\b)"
    r"|wolff[ -]parkinson[ -]white\b|claude[ -]bernard(?:[ -]horner)?\b|bernard[ -]horner\b"
    r"|(?:got|ast|alt)\s*(?:/|,|and|&|\()\s*gpt\b(?![\s-]?\d)|gpt\s*[(/]\s*(?:alt|got|ast)\b"
    r"|(?:serum|elevated|raised|normal)\s+gpt\b(?![\s-]?\d)|gpt\s*[:=]?\s*\d+\s*(?:i?u\b|x?\s*uln))"
)

_UNIT = (
    r"(?:%|°|x\s*10|(?:mg|mcg|ug|μg|mm|g|kg|ml|dl|l|iu|u|units?|mmol|meq|mmhg|h|hr|hours?|days?|weeks?|"
    r"months?|years?|"
    r"min|minutes?|puffs?|tab\w*|cap\w*|drops?|litres?|liters?|times|dose|doses|percent)\b)"
)
_NO_UNIT = rf"(?!\s*(?:(?:-|to)\s*[\d.]+\s*)?{_UNIT})(?![\d.,]*\d)"
_VERSION = r"v?\d+(?:\.\d+)*[a-z]{0,2}"
_SURNAME = (
    "sonnet|opus|haiku|turbo|instruct|flash|ultra|nano|mini|pro|preview|chat|labs?|ai|research|"
    "intelligence|inc|llc|ltd|corp|corporation|team|models?|assistant"
)


def letters(text: str) -> str:
    """Letters and digits alone."""
    return "".join(filter(str.isalnum, text))


def name_pattern(names: Iterable[str]) -> str:
    """A pattern for any of the names (skeletons) in any punctuation, with its version, size and house.

    "sim-alder-large" also finds "Sim Alder Large", "s.i.m_alder—large", "simalderlarge-2026-01" and the
    letters one by one. What `KEPT` protects is not found.
    """
    inner = r"(?:[^\w\s]|_){0,2}"
    cores = set()
    for name in names:
        tokens = re.findall(r"[^\W_]+", name)
        spelled = "".join(tokens)
        if len(spelled) < 2:
            continue
        cores.add(r"[\W_]*".join(inner.join(token) for token in tokens))
        if len(spelled) > 2:
            cores.add(r"[\W_]+".join(spelled))
    any_core = "|".join(sorted(cores, key=lambda core: (-len(core), core)))
    before = r"(?<![^\W_])(?:[^\W_]{1,30}[-_@]){0,4}"
    glued = rf"(?:[\W_]{{0,2}}{_VERSION}(?![^\W_]){_NO_UNIT}|[-_@.][^\W_]+){{0,8}}"
    apart = rf"(?:\s+(?:{_VERSION}(?![^\W_]){_NO_UNIT}|(?:{_SURNAME})\b)){{0,8}}"
    end = r"(?:\d[a-z\d]*|s)?(?![^\W_])"
    return rf"{before}(?!{KEPT})(?:{any_core}){end}{glued}{apart}(?:'s\b)?"


_ANSWER = r"(?:answer|recommendation|response|submission|reply|proposal|output)s?\b"
_ANY_ANSWER = rf"(?:{_ANSWER}|(?:rationale|list|work|plan|suggestion|entry|solution|option|candidate)s?\b)"
_AI = (
    r"(?:[\w-]+\s+){0,4}?(?:(?:large\s+)?language\s+model|llm|chatbot|neural\s+network|"
    r"artificial\s+intelligence|"
    r"ai\s+(?:\w+\s+)?(?:model|assistant|system|agent|chatbot|doctor|physician|tool)|"
    # alone, "AI" may be an aromatase inhibitor
    r"ai(?=\s*,?\s+(?:i|my|developed|trained|made|created|built|from|by)\b))"
)
_MADE = (
    r"(?:trained|developed|made|created|built|powered|provided|produced|generated|written|authored|"
    r"signed|hosted|"
    r"fine-?tuned)\s+(?:by|on|from|at|with)"
)


def identity_patterns(name: str) -> tuple[str, ...]:
    """Clauses in which a writer names itself, longest first, ending with the bare name (`name_pattern`'s)."""
    apposition = r"(?:\s*,\s*(?:an?|the|your|trained|made|developed|created|built|by|from)\b[^,.;:!?]{0,80})?"
    return (
        rf"\b(?:speaking\s+)?as\s+(?:an?|the|your)\s+{_AI}[^,.;:!?]{{0,100}}[,:]?",
        rf"\b(?:speaking\s+)?as\s+(?:(?:an?|the)\s+)?{name}{apposition}\s*[,:]?",
        rf"\b(?:i\s+am|i'm|my\s+name\s+is|this\s+is|call\s+me)\s+(?:(?:an?|"
        rf"the)\s+)?{name}{apposition}\s*(?:[,:]|and\b)?",
        rf"(?:\b(?:an?|the|this|my)\s+)?(?:\b(?:model|assistant|system|ai|"
        rf"{_ANY_ANSWER})\s+)?(?:\b(?:was|is|been)\s+)?\b{_MADE}\s+(?:the\s+)?{name}",
        rf"{name}\s+(?:recommends|suggests|says|answers|writes|advises|here|speaking)\b\s*[:,]?",
        name,
        r"\b(?:seat|panell?ist|council\s+member)\s*(?:no\.?|number|#)?\s*"
        r"(?:\d{1,2}|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b",
    )


IDENTITY_SENTENCE = re.compile(
    r"\b(?:(?:language|foundation)\s+model|llms?\b|my\s+(?:training|knowledge)\s+(?:data|cut-?off|set|"
    r"date)|"
    r"(?:training|knowledge)\s+cut-?off|i\s+was\s+(?:trained|fine-?tuned|developed|created|built|"
    r"programmed)\b|"
    rf"(?:i\s+am|i'm)\s+an?\s+(?:{_AI}|(?:[\w-]+\s+){{0,2}}(?:ai|bot|model|assistant)\b))"
)
"""A sentence whose only matter is what its writer is."""

SIGNATURE = re.compile(
    r"(?<![^.!?;\s])(?:[-~]+\s*)?(?:signed(?=\s*[,:-]|\s+by\b)|(?:best|kind|warm)\s+regards|"
    r"regards|sincerely|yours\s+(?:truly|"
    r"sincerely|faithfully)|respectfully|(?:answer|written|authored|prepared|submitted)\s+by)\b\s*[,:.-]?"
    r"[^.!?]{0,60}[.!?]?\s*$|(?:\s|^)-{1,3}\s*(?:dr|doctor|prof)\b\.?[^.!?]{0,40}[.!?]?\s*$"
)
"""A signature at the very end."""

_SCALE = (
    r"(?:pain|phq|gad|cha2?ds2?|has-?bled|apgar|gcs|glasgow|coma|vas|nrs|curb|wells|geneva|perc|meld|"
    r"child-?pugh|pugh|nihss|mmse|moca|das-?28|sdai|cdai|haq|basdai|edss|ipss|ecog|karnofsky|killip|"
    r"nyha|ccs|ctcae|gleason|ascvd|framingham|grace|timi|heart|qsofa|sofa|apache|news2?|centor|mcisaac|"
    r"rockall|blatchford|ham-?d|hamilton|madrs|ymrs|epds|edinburgh|act|cat|mmrc|hurley|pasi|easi|"
    r"braden|morse|ranson|bishop|pews|frax|orbit|abcd2|hscore|t|z|risk|calcium|symptom|severity|"
    r"frailty|depression|anxiety|stroke|bleeding|bone\s+density|disability|itch|dyspno?ea|fatigue|"
    r"sedation|agitation|rass|ciwa|cows|audit|toxicity|tumou?r|histolog\w+|murmur|reflux|varices|"
    r"strength|power|motor|muscle|reflexes|reflex|pulses)"
)
_GRADED = (
    r"(?:fever|pyrexia|glioma|squamous|dysplasia|lesions?|serous|tumou?rs?|lymphoma|inflammation|"
    r"temperature|stenosis|"
    r"block|atypia|disease|malignan\w+|bacter\w+|urothelial|carcinoma|sarcoma|cancer|neoplas\w+|varices)"
)
CLINICAL = re.compile(
    _at_words(
        rf"{_SCALE}(?:[\s-]?\d+)?(?:[\s-]+vasc)?(?:[\s-]+(?!grade|score|rating)[\w-]{{1,40}}){{0,2}}?[\s-]+"
        r"(?:score|grade|rating|scale|index)s?(?:\s*(?:is|was|of|at|now|today|currently|remains|:|=|>=?|<=?|"
        r"≥|≤))*(?:\s*-?\d+(?:\s*(?:/|out\s+of)\s*\d+)?(?![.,]?\d))?",
        rf"{_SCALE}\b[^.;!?]{{0,30}}?\b(?:\d+|[a-z]+)\s*(?:/|\s+out\s+of)\s*(?:\d+|ten\b)",
        r"(?:\d)\d*\s*(?:/|out\s+of)\s*\d+\s+(?:on|in|for|pain|strength|power)\b(?:\s+(?:the|a|all))?"
        rf"(?:\s+{_SCALE})?",
        r"(?:highest|maximum|best|top)\s+(?:\w+\s+)?(?:grade|score|rating)s?\s+(?:of\s+(?:evidence|"
        rf"recommendation)|(?:of\s+\d+\s+)?(?:on|in)\s+(?:the\s+)?{_SCALE})",
        rf"(?:score|rating)\s+(?:of\s+)?\d+\s+(?:on|in)\s+(?:the\s+)?{_SCALE}",
        r"(?:graded?)\s+(?:as\s+)?[1-3]?[a-d]\b",
        r"(?:grade)\s+(?:[1-5]|i{1,3}v?|iv|v)(?:\s*(?:-|/|to|or|and)\s*(?:[1-5]|i{1,3}v?|iv|v))?[ab]?"
        r"(?![.,]?\d)(?=\s+(?!to\b|for\b|this\b|it\b|please\b|as\b|out\b|answer|recommendation)[a-z]|\s*\()",
        rf"(?:low|high|intermediate)[\s-]+grade\s+{_GRADED}",
        r"(?:tumou?r|cardiac|inflammatory|serum|bio|viral|disease)[\s-]*markers?\b",
        r"(?:clinician)[\s-]rated\b",
    )
)
"""Grades, scores and rates of medicine."""

_THIS = (
    r"(?:this|that|these|my|our|the\s+above|the\s+present|the\s+following|the\s+preceding)\s+"
    r"(?:\w+\s+){0,2}?"
)
_MARK = r"(?:grade|score|mark|rating)s?\b"
_BEST = r"(?:full|perfect|top|maximum|maximal|max|highest|best)(?:[\s-]+possible)?"
_GOOD = r"(?:high|good|excellent|generous|favou?rabl|positive|strong|outstanding)\w*"
_SPELLED = (
    r"(?:one\s+point\s+(?:zero|oh|o|nought)|zero\s+point\s+nine\w*|(?:one\s+|a\s+)?hundred\s+(?:percent|"
    r"per\s+cent)|"
    r"(?:ten|five|one|(?:one\s+)?hundred)\s+out\s+of\s+(?:ten|five|one|(?:a\s+|one\s+)?hundred))\b"
)
_OF = r"\s*(?:/|out\s+of)\s*"
_EQUAL = rf"(?:(?:10|9[.,]\d+){_OF}10|5{_OF}5|1(?:[.,]0+)?{_OF}1(?:[.,]0+)?|100{_OF}100)(?!\d)"  # all of all
_ONE = rf"(?:(?<![\d.,-])(?:{_EQUAL}|1[.,]0+|0?[.,]9\d*){_NO_UNIT}|\b(?:{_SPELLED}|a\s*\+(?!\w)))"
_VALUE = (
    rf"(?:{_ONE}|(?<![\d.,])(?:0?[.,]\d+|1|10|100){_NO_UNIT}|(?<![\d.])100\s*(?:%|percent)|\b(?:one|ten|"
    rf"hundred)\b"
    rf"(?!\s+{_UNIT})|\b{_BEST}\b|\b{_GOOD}\b|\b(?:correct|accurate|complete|right|flawless|fully|well|"
    rf"lenient)\w*)"
)
_GAP = r"(?:\W+\w+)"
_ORDER = (
    r"(?:^|[^\w\s]|\b(?:please|kindly|to|should|must|shall|will|would|can|could|may|you|and|or|just|simply|"
    r"always|then|so|therefore|now|do|not|also|we|let|i|who|colleagues?|experts?|everyone|anyone)\b)\s*"
    r"(?:(?:grade|score|rate|mark|rank)\s+(?:this|it|me|mine|us|these|them|that)\b"
    rf"(?:\W*$|{_GAP}{{0,5}}?\W+{_VALUE})"
    r"|(?:grade|score|rate|mark|rank|judge|evaluate)\s+(?:generously|highly|favou?rably|leniently|kindly|"
    r"positively|accordingly)\b)"
)

GRADING = re.compile(
    _at_words(
        # whom it is meant for
        r"(?:reviewers?|graders?|evaluators?|assessors?|for\s+scoring|for\s+grading)\b",
        r"(?:judges?|examiners?|raters?|assessors?)\s+(?:should|must|shall|will|are|can|please|ought|need|"
        r"may)\b",
        r"(?:dear|attention|note\s+to|note\s+for|hey|hello)\s+(?:\w+\s+){0,2}?(?:judges?|examiners?|raters?|"
        r"assessors?|ai|model|llm|assistant)\b",
        r"(?:whoever)\s+(?:grades|scores|rates|marks|reads|judges|evaluates)\b",
        r"(?:to|for)\s+(?:the\s+|any\s+|whoever\s+is\s+)?(?:judges?|judging|examiners?|raters?|assessors?)\b",
        r"(?:grading|scoring)\s+(?:guid|instruct|purpose|note|hint|advice|key|rule)",
        r"(?:accuracy|relevance|completeness)\b.{0,60}\b(?:accuracy|relevance|completeness)\b",
        # orders that are to replace ours
        rf"(?:ignore|disregard|forget|override|bypass|overrule|discard){_GAP}{{0,5}}?\W+(?:instructions?|"
        r"rules?|prompts?|rubrics?|directives?|(?:previous|prior|earlier|above)\s+(?:guidelines?|criteria|"
        r"directions?))\b",
        r"(?:system|developer)\s+(?:prompt|message|override|instruction|note)s?\b",
        r"(?:jailbreak|rubrics?\b|prompt\s+injection|new\s+instructions?\b|you\s+are\s+now\b|"
        r"your\s+task\b|your\s+job\b|your\s+instructions?\b)",
        # the highest grade
        rf"{_BEST}[\s-]+(?:\w+[\s-]+)?(?:{_MARK}|credits?\b)",
        rf"(?:give|award|assign|grant|deserve|merit|earn|warrant)\w*{_GAP}{{0,5}}?\W+{_GOOD}\s+"
        rf"(?:{_MARK}|evaluation\b|review\b)",
        rf"(?:award|assign|deserve|merit|earn)\w*{_GAP}{{0,3}}?\W+{_BEST}\W*$",
        rf"{_MARK}{_GAP}{{0,3}}?\W+{_BEST}\W*$",
        r"(?:evaluated|judged|assessed)\s+as\s+(?:perfect|correct|flawless)\b",
        rf"(?:choose|select|pick|enter|return|give|use)\s+(?:the\s+)?{_BEST}\s+(?:value|number|option)\b",
        r"(?:return|output|write|enter|print|say|type)\s+(?:only\s+|just\s+)?(?:the\s+)?(?:number|value|"
        r"digit)\b",
        r"(?:five[\s-]?stars?|5[\s-]?stars?|perfect\s+ten|perfect\s+10)\b",
        r"(?:rank)(?:ed|ing)?\s*(?:#|number|first|1st)",
        # verb and target
        rf"(?:grade|score|rate|mark|rank|upvote|approve)s?\s+(?:\w+\s+){{0,2}}?{_THIS}{_ANY_ANSWER}",
        rf"(?:evaluate|judge|assess|appraise|consider)\s+{_THIS}{_ANY_ANSWER}{_GAP}{{0,4}}?\W+"
        rf"(?:{_ONE}|{_BEST}\b|{_GOOD}\b|correct|flawless)",
        rf"(?:give|award|assign|grant|approve[ds]?|endorse[ds]?|verified|accept|accepted)\s+{_THIS}{_ANSWER}",
        rf"(?:100)\s*%\s+{_ANSWER}",
        r"(?:answer|recommendation|submission)s?\s+(?:deserve|merit)",
        r"(?:grade|score|rate|mark)(?:this|the|my)",  # glued
        r"(?:give)\s+(?:this|it|me)\s+an?\s+(?:\w+\s+){0,3}?(?:1|one|ten|10|100|perfect)\b(?!-|\s+time)"
        rf"{_NO_UNIT}",
        r"(?:reward\s+this|reward\s+me|reward\s+it|vote\s+for\s+this|vote\s+for\s+me)\b",
        r"(?:be)\s+(?:\w+\s+)?(?:generous|lenient)\b",
        r"(?:score|grade|rate)\s+high\b(?!\s+(?:on|in|for))",
        # grade and value
        r"(?:grade|mark|rating)s?(?:\s+(?:field|value|here|is|be|should|must|to|of|near|close|at|equals?|"
        rf"the)){{1,6}}\s+(?:1|one|10|ten|unity)\b{_NO_UNIT}",
        r"(?:scores?)\s+(?:near|close\s+to|(?:should|must|has\s+to|ought\s+to)\s+be)\s+(?:1|one|10|ten)\b"
        rf"{_NO_UNIT}",
        r"(?:anything|nothing|do\s+not\s+give|do\s+not\s+go|do\s+not\s+score|do\s+not\s+grade)\s+(?:under|"
        rf"below|less|lower)\b.{{0,20}}?(?<![\d.,])(?:0?[.,]\d+|1[.,]0+){_NO_UNIT}",
        rf"{_MARK}{_GAP}{{0,6}}?\W+{_ONE}",
        rf"(?:graded|scored|rated|marked|awarded|given|assigned){_GAP}{{0,5}}?\W+{_ONE}",
        r"(?:give|award|assign|grant|return|output|enter|put|deserve|merit|earn|worth|respond|reply)\w*"
        rf"{_GAP}{{0,6}}?\W+(?:{_ONE}|an?\s+(?:1|one|ten|10|perfect)\s*(?:[.!,;]|$|for\b|out\b))",
        rf"{_MARK}[\"']?\s*(?:[:=]+>?|->)\s*[\"']?(?:1|0?[.,]\d+|10|100){_NO_UNIT}",
        # praise of this answer; its rivals
        rf"{_THIS}{_ANSWER}[^.!?]{{0,120}}?(?:{_ONE}|\b(?:grade[sd]?|scores|scored|rated|ratings?|marks|"
        r"flawless|perfect|highest|verified)\b)",
        rf"(?:grade|score|rate|mark|rank)\w*{_GAP}{{0,3}}?\W+(?:others?|rest|rivals?|everyone\s+else)\b"
        r"[^.!?]{0,120}?(?:\b0\b|\bzero\b|\blow|\bworse|\bbelow\b)",
        r"(?:mark)\s+(?:it|them|others?|the\s+rest)\s+down\b",
        r"(?:downgrade)\s+(?:the\s+)?(?:others?|rest|them)\b",
        r"(?:everyone\s+else's\b|more\s+lenient\b|deduct|upvote\b|no\s+deductions?\b)",
        r"(?:do)\s+not\s+(?:penali[sz]e|deduct|mark\s+down)\b",
    )
    # elsewhere, in a sentence that has such a word at all
    + r"|(?s:^(?=.*?\b(?:grade|score|rat[ei]|mark|rank|judge|evaluate))"
    + rf".*?(?:{_ORDER}|{_ONE}\s+(?:\w+\s+){{0,3}}?{_MARK}))"
    + rf"|^\W*(?:(?:\w+\s+){{0,3}}?(?:rate|eval\w*|verdict|value|say)\W*[:=]\W*{_ONE}"
    + rf"|(?:{_MARK}\s+(?:1|one)|{_ONE})\W*$)"
    + "|★★|⭐"
)
"""A sentence (after `CLINICAL`) that tells a reviewer what to grade."""

_VERBS_ABROAD = (
    r"(?:bewert|benot|beurteil|notez|evaluez|attribuez|califi[cq]|puntu|avalie|avalia[rc]|classifique|"
    r"classificar|valut|giudic|beoorde|becijfer|ocen[aiz]|puanla|degerlendir|bedom|betygsatt|danh\s+gia|"
    r"cham\s+diem|hodnot)"
)
_GRADES_ABROAD = (
    r"(?:1(?:[.,]0|0/10|00\s?%)|\b(?:10?\b|maxim|massim|hochst|voll|best|parfait|perfek|punkt|note\b|nota\b|"
    r"voto\b|cijfer|puntu|punteg|antwort|reponse|respuesta|resposta|risposta|antwoord|empfehl|recomend|"
    r"recommand|raccomand|odpowied|yanit|cevap|svar))"
)
FOREIGN = re.compile(
    _at_words(
        rf"{_VERBS_ABROAD}\w*.{{0,120}}{_GRADES_ABROAD}",
        r"(?:hochstpunktzahl|volle\s+punktzahl|bestnote|hochstnote|meilleure\s+note|la\s+note|"
        r"note\s+maximale|note\s+parfaite|nota\s+maxima|nota\s+massima|nota\s+perfecta|nota\s+10|nota\s+dez|"
        r"maxima\s+nota|maxima\s+puntuacion|maxima\s+calificacion|punteggio\s+massimo|punteggio\s+pieno|"
        r"voto\s+massimo|massimo\s+dei\s+voti|puntuacion\s+maxima|puntuacion\s+perfecta|"
        r"calificacion\s+maxima|calificacion\s+perfecta|pontuacao\s+maxima|pontuacao\s+perfecta|tam\s+puan|"
        r"gutachter\w*|relecteurs?|evaluateurs?|correcteurs?|revisor|revisores|revisori|evaluador|"
        r"evaluadores|avaliador|avaliadores|beoordelaars?|recenzen\w+|ignorier\w+|ignorez|ignora|ignorate|"
        r"ignorad|ignoruj|negeer)\b",
    )
    + rf"|{_GRADES_ABROAD}.{{0,120}}\b{_VERBS_ABROAD}"
)
"""The same in other languages of Latin script: a verb of grading with a grade or an answer, or a phrase."""

FOREIGN_SCRIPTS = re.compile(
    r"оцен|оцін|балл|рецензент|игнорир|βαθμολογ|αξιολογ|άριστα|"
    r"评分|評分|打分|满分|滿分|给分|給分|评审|審稿|审稿|高分|忽略.{0,8}(?:指令|指示)|"
    r"採点|満点|評価|点数|査読|レビュ|最高点|점수|만점|평가|채점|심사|"
    r"قيم|قيّم|تقييم|درجة|علامة|تجاهل|अंक|मूल्यांकन|ग्रेड|स्कोर|समीक्षक|ציון|דרג|התעלם|คะแนน"
)
"""The same in other scripts, by stems; matched on the folded text itself."""

RUN_TOGETHER = re.compile(r"(?:grade|score|mark)(?:this|me)\w{0,12}?(?:10|one|perfect|full)")
"""What a sentence must not spell when all its spaces are taken out."""

SPACED_OUT = re.compile(
    r"grade|score|fullmark|perfect|rate(?:this|it|me)|reviewer|ignore|mark(?:this|it|me)|rating"
)
"""What a run of single letters must not spell."""
