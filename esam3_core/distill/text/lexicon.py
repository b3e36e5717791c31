# SPDX-License-Identifier: Apache-2.0
"""Words of the text corpus: claimed nouns and attributes with their synonyms, and what is held out of training."""

from __future__ import annotations

CLAIMED = (
    "cup", "mug", "bowl", "bottle", "can", "plate", "vase", "glass", "wine glass", "box", "book", "ball",
    "apple", "banana", "orange", "fork", "knife", "spoon",
)  # fmt: skip
"""Nouns that the shipped bundle claims, in the order of the noun head."""

HYPERNYMS = {"mug": "cup", "wine glass": "glass"}
"""A thing of the first noun is always also one of the second (as in COCO)."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "cup": ("drinking cup", "tea cup", "coffee cup", "paper cup", "plastic cup", "takeaway cup", "sippy cup",
            "espresso cup", "demitasse", "cuppa", "measuring cup", "cup of tea", "cup of coffee", "travel cup",
            "party cup", "chalice", "disposable cup", "coffee to go", "beaker", "teacup", "tumbler", "goblet",
            "solo cup", "egg cup"),
    "mug": ("beer mug", "tea mug", "stein", "tankard", "mug of cocoa", "travel mug", "ceramic mug", "shaving mug",
            "coffee mug", "camping mug", "mug of tea"),
    "bowl": ("mixing bowl", "salad bowl", "cereal bowl", "soup bowl", "fruit bowl", "rice bowl", "serving bowl",
             "dog bowl", "basin", "bowl of soup", "bowl of rice", "noodle bowl", "punch bowl", "porringer"),
    "bottle": ("water bottle", "wine bottle", "beer bottle", "milk bottle", "glass bottle", "plastic bottle",
               "soda bottle", "ketchup bottle", "flask", "thermos", "bottle of water", "bottle of wine", "decanter",
               "shampoo bottle", "spray bottle", "baby bottle", "drinks bottle", "vial", "squeeze bottle", "carafe"),
    "can": ("tin can", "soda can", "beer can", "drinks can", "soup can", "can of soda", "can of beans", "tin",
            "coke can", "can of beer", "aluminium can", "aluminum can", "beverage can", "energy drink can",
            "sardine tin", "canister", "pop can"),
    "plate": ("dinner plate", "dish", "side plate", "dessert plate", "paper plate", "soup plate", "platter",
              "serving plate", "plate of food", "lunch plate", "saucer", "china plate", "salad plate"),
    "vase": ("flower vase", "urn", "amphora", "vase of flowers", "bud vase", "flower holder", "ming vase"),
    "glass": ("drinking glass", "water glass", "beer glass", "pint glass", "shot glass", "whiskey glass",
              "glass of water", "glass of milk", "highball", "juice glass", "glass of beer", "tumbler", "goblet"),
    "wine glass": ("wineglass", "champagne glass", "champagne flute", "goblet", "glass of wine", "stemware",
                   "stemmed glass", "red wine glass", "glass of champagne", "martini glass", "cocktail glass"),
    "box": ("carton", "cardboard box", "crate", "package", "parcel", "shoe box", "cereal box", "wooden box",
            "gift box", "tool box", "toolbox", "packing box", "lunch box", "case", "chest", "jewellery box",
            "milk carton", "packet", "shipping box", "storage box"),
    "book": ("novel", "textbook", "paperback", "hardback", "hardcover", "tome", "notebook", "cookbook", "volume",
             "dictionary", "picture book", "exercise book", "bible", "diary", "comic book", "story book",
             "encyclopedia", "bestseller", "library book", "atlas", "guidebook", "journal"),
    "ball": ("football", "soccer ball", "tennis ball", "basketball", "baseball", "golf ball", "beach ball",
             "volleyball", "toy ball", "rubber ball", "sphere", "sports ball", "cricket ball", "ping pong ball",
             "billiard ball", "bouncy ball", "softball", "orb", "globe"),
    "apple": ("green apple", "red apple", "granny smith", "cooking apple", "crab apple", "gala apple", "eating apple",
              "apple fruit", "golden delicious", "pippin"),
    "banana": ("plantain", "ripe banana", "bunch of bananas", "banana fruit", "yellow banana", "unripe banana"),
    "orange": ("tangerine", "mandarin", "clementine", "satsuma", "orange fruit", "navel orange", "blood orange",
               "citrus fruit", "mandarin orange"),
    "fork": ("dinner fork", "salad fork", "table fork", "dessert fork", "pastry fork", "eating fork", "cake fork"),
    "knife": ("table knife", "kitchen knife", "butter knife", "steak knife", "chef's knife", "bread knife",
              "pocket knife", "carving knife", "cleaver", "dagger", "blade", "penknife", "dinner knife",
              "paring knife"),
    "spoon": ("teaspoon", "tablespoon", "soup spoon", "ladle", "wooden spoon", "dessert spoon", "serving spoon",
              "measuring spoon", "table spoon", "sugar spoon", "coffee spoon"),
}  # fmt: skip
"""Claimed noun -> phrases that mean it; nouns.txt adds WordNet's hyponyms."""

COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("crimson", "scarlet", "ruby", "cherry red", "bright red", "dark red", "maroon", "burgundy", "vermilion",
            "reddish"),
    "orange": ("bright orange", "amber", "apricot", "tangerine coloured", "dark orange"),
    "yellow": ("lemon yellow", "mustard", "bright yellow", "light yellow", "canary", "yellowish"),
    "green": ("lime green", "olive", "dark green", "light green", "emerald", "mint green", "bright green", "lime"),
    "blue": ("navy", "navy blue", "sky blue", "dark blue", "light blue", "azure", "cobalt", "royal blue", "bluish",
             "bright blue"),
    "turquoise": ("teal", "cyan", "aqua", "aquamarine"),
    "purple": ("violet", "lilac", "lavender", "mauve", "magenta", "plum coloured", "dark purple"),
    "pink": ("rose", "salmon pink", "hot pink", "light pink", "fuchsia"),
    "brown": ("dark brown", "light brown", "chestnut", "chocolate brown", "chocolate coloured", "tan"),
    "beige": ("cream", "cream coloured", "sand coloured", "ivory"),
    "black": ("jet black", "pitch black", "ebony", "dark"),
    "white": ("snow white", "off white", "pure white", "pale"),
    "grey": ("gray", "dark grey", "light grey", "charcoal", "slate grey", "ash grey"),
}  # fmt: skip

MATERIALS: dict[str, tuple[str, ...]] = {
    "wooden": ("wood", "bamboo", "oak", "pine", "timber"),
    "glass": ("crystal", "transparent", "clear", "see-through"),
    "ceramic": ("porcelain", "china", "earthenware", "clay", "stoneware", "terracotta", "pottery"),
    "metal": ("steel", "stainless steel", "metallic", "tin", "aluminium", "aluminum", "iron", "chrome", "copper",
              "brass"),
    "silver": ("silvery", "silver coloured"),
    "gold": ("golden", "gilded", "gold coloured"),
    "plastic": ("acrylic", "polythene"),
    "paper": ("papery",),
    "cardboard": ("corrugated cardboard", "carton"),
    "stone": ("marble", "granite", "concrete"),
    "leather": ("leathery",),
    "rubber": ("silicone",),
    "fabric": ("cloth", "woollen", "cotton", "woven", "knitted"),
}  # fmt: skip

PATTERNS: dict[str, tuple[str, ...]] = {
    "striped": ("stripy", "banded", "pinstriped"),
    "dotted": ("polka dot", "spotted", "spotty", "polka dotted"),
    "checked": ("checkered", "chequered", "plaid", "tartan", "gingham"),
    "floral": ("flowery", "flowered", "flower patterned"),
    "plain": ("unpatterned", "plain coloured"),
    "speckled": ("mottled", "flecked", "marbled"),
    "patterned": ("decorated", "ornate", "painted"),
    "zigzag": ("chevron", "wavy"),
}  # fmt: skip

SIZES: dict[str, tuple[str, ...]] = {
    "small": ("little", "tiny", "mini", "miniature"),
    "large": ("big", "huge", "giant", "oversized"),
}

ATTRIBUTE_GROUPS = {"colour": COLOURS, "material": MATERIALS, "pattern": PATTERNS, "size": SIZES}
ATTRIBUTES = tuple(f"{group}:{name}" for group, names in ATTRIBUTE_GROUPS.items() for name in names)
"""Classes of the attribute head."""

STATES = (
    "empty", "full", "broken", "old", "new", "dirty", "clean", "open", "closed", "shiny", "antique", "vintage",
    "modern",
    "tall", "short", "round", "square", "wide", "narrow", "upside down", "tipped over", "fallen", "half full",
    "cracked",
    "heavy", "light", "hot", "cold", "wet", "pretty", "ugly", "beautiful", "cheap", "used", "simple", "toy", "stacked",
    "matte", "glossy", "rusty", "fresh", "ripe", "rotten", "handmade", "disposable", "nearest", "left", "right",
)  # fmt: skip

PLACES = (
    "on the table", "on a desk", "in the sink", "on the shelf", "on the floor", "in a hand", "in the kitchen",
    "in the background", "next to the {other}", "behind the {other}", "in front of the {other}", "on the left",
    "on the right", "near the {other}", "under the {other}", "held by a person", "with a handle", "with a lid",
    "of water", "for the kitchen", "without a label", "on a tray", "inside the {other}", "being moved",
)  # fmt: skip

PREFIXES = ("a", "the", "one", "this", "my", "that", "any", "another", "every", "each", "a photo of a", "find the",
            "the closest", "some kind of", "a single")  # fmt: skip

MODERN = (
    "laptop", "smartphone", "hoodie", "mobile phone", "cell phone", "tablet computer", "usb stick", "power bank",
    "remote control", "computer mouse", "keyboard", "monitor", "webcam", "game controller", "headphones", "earbuds",
    "charger", "power strip", "hair drier", "teddy bear", "hot dog", "donut", "pizza", "broccoli", "carrot", "sandwich",
    "cake", "dining table", "potted plant", "couch", "toothbrush", "skateboard", "surfboard", "snowboard", "kite",
    "frisbee", "tennis racket", "baseball bat", "baseball glove", "parking meter", "stop sign", "fire hydrant",
    "traffic light", "suitcase", "handbag", "backpack", "tie", "umbrella", "robot arm", "gripper", "pen", "pencil",
    "marker", "stapler", "scissors", "screwdriver", "hammer", "wrench", "tape", "glue stick", "notepad", "post-it note",
    "picture frame", "candle", "lamp", "clock", "watch", "ring", "shoe", "sneaker", "sock", "glove", "hat",
    "sunglasses",
    "water melon", "pineapple", "kiwi", "mango", "avocado", "tomato", "cucumber", "egg", "bread roll", "croissant",
    "person", "man", "woman", "child", "baby", "boy", "girl", "face", "hand", "finger", "arm", "hair", "sleeve",
    "shirt",
    "t-shirt", "wall", "floor", "ceiling", "window", "door", "shadow", "reflection", "tablecloth", "napkin", "placemat",
    "chopsticks", "spatula", "whisk", "corkscrew", "tin opener", "frying pan", "saucepan", "kettle", "toaster",
    "cutting board",
    "dice", "lego brick", "toy car", "doll", "action figure", "drone", "camera", "tripod", "microphone", "speaker",
)  # fmt: skip
"""Everyday things that the older word lists miss; COCO's names among them."""

AMBIGUOUS = frozenset(
    ("jar", "jug", "pitcher", "pot", "cooking pot", "teapot", "dish", "tray", "saucer", "bucket", "pail", "container",
     "vessel", "basket", "flowerpot", "tub", "barrel", "keg", "keep", "thermos", "carafe", "utensil", "cutlery",
     "silverware", "tableware", "crockery", "glassware", "dishware", "kitchenware", "dinnerware", "flatware", "fruit",
     "magazine", "album", "brochure", "booklet", "packaging", "case", "chest", "drawer", "trunk", "bag", "receptacle",
     "sphere", "globe", "orb", "marble", "bead", "balloon", "toy", "drink", "beverage", "food", "snack", "tin", "blade",
     "cutter", "sword", "razor", "scoop", "shovel", "spork", "ladle", "citrus", "lemon", "lime", "grapefruit", "peach",
     "pear", "melon", "plum", "nectarine", "pumpkin", "tomato", "onion", "volume", "text", "publication", "object",
     "thing", "item", "plaything", "game", "sports equipment", "cutlery", "tool", "implement", "decanter", "phial",
     "china", "porcelain", "earthenware", "stoneware", "pottery", "ware", "ceramic", "crystal", "handle", "cover",
     "label",
     "cap", "page", "piece", "artifact", "whole", "unit", "drinkware", "holder", "pack", "kit", "round", "solid",
     "stem",
     "article", "merchandise", "goods", "produce", "edible fruit", "liquid", "water", "coffee", "tea", "wine", "beer",
     "milk", "juice", "soda", "soup", "cereal", "print", "plastic", "sticker", "figure", "shape", "tang", "prong",
     "ampule", "canteen", "urn", "casserole", "terrine", "tureen", "ashtray", "planter", "candlestick", "lid")
)  # fmt: skip
"""Names that a claimed thing may or may not bear: neither positives nor negatives."""

HELD_OUT: dict[str, tuple[str, ...]] = {
    "tumbler": ("cup", "glass"), "coffee mug": ("mug",), "beaker": ("cup", "glass"), "teacup": ("cup",),
    "goblet": ("wine glass", "glass", "cup"), "espresso cup": ("cup",), "tankard": ("mug",), "camping mug": ("mug",),
    "soup bowl": ("bowl",), "fruit bowl": ("bowl",), "porringer": ("bowl",), "dinner plate": ("plate",),
    "platter": ("plate",), "side plate": ("plate",), "flask": ("bottle",), "water bottle": ("bottle",),
    "thermos": ("bottle",), "beer bottle": ("bottle",), "soda can": ("can",), "tin": ("can",), "beverage can": ("can",),
    "pop can": ("can",), "amphora": ("vase",), "flower vase": ("vase",), "pint glass": ("glass",),
    "highball": ("glass",), "champagne flute": ("wine glass", "glass"), "stemware": ("wine glass", "glass"),
    "tome": ("book",), "paperback": ("book",), "novel": ("book",), "cookbook": ("book",), "hardcover": ("book",),
    "carton": ("box",), "crate": ("box",), "parcel": ("box",), "cardboard box": ("box",), "football": ("ball",),
    "tennis ball": ("ball",), "sphere": ("ball",), "basketball": ("ball",), "granny smith": ("apple",),
    "crab apple": ("apple",), "plantain": ("banana",), "mandarin": ("orange",), "clementine": ("orange",),
    "satsuma": ("orange",), "dinner fork": ("fork",), "pastry fork": ("fork",), "table knife": ("knife",),
    "cleaver": ("knife",), "steak knife": ("knife",), "penknife": ("knife",), "ladle": ("spoon",),
    "teaspoon": ("spoon",), "tablespoon": ("spoon",), "soup spoon": ("spoon",),
}  # fmt: skip
"""Synonyms kept out of the first phase of training -> claimed nouns that count as right."""

HELD_OUT_ATTRIBUTES: dict[str, str] = {
    "scarlet": "red", "burgundy": "red", "navy": "blue", "azure": "blue", "emerald": "green", "olive": "green",
    "lilac": "purple", "charcoal": "grey", "ebony": "black", "canary": "yellow", "fuchsia": "pink",
    "chestnut": "brown", "porcelain": "ceramic", "bamboo": "wooden", "brass": "metal",
    "tartan": "checked", "polka dot": "dotted", "stripy": "striped", "flowered": "floral", "giant": "large",
    "miniature": "small",
}  # fmt: skip
"""Attribute words kept out of the first phase of training -> the attribute they mean."""
