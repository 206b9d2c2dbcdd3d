"""The words of the demo corpus: written for this package, put into frames by ``demo_corpus.py``.

A :class:`Lexicon` is what one split draws from. The splits share what carries meaning (words of praise and blame,
negations, conjunctions, intensifiers: ``ADJECTIVES``, ``VERBS``, ``STEMS``, ``SHARED``) and the small words of English;
names, things, places, occasions and every frame are a split's own.
"""

import dataclasses
from collections.abc import Mapping

from eat.tasks.demo_frames import TRAIN_FRAMES, VALIDATION_FRAMES


@dataclasses.dataclass(frozen=True)
class Lexicon:
    """What the sentences of one split are made of.

    Attributes:
        words: Slot -> words to choose from.
        places: Where one goes -> what is judged there.
        frames: Difficulty -> sentences with slots.
        openers: Neutral phrases that may stand before a sentence.
        closers: Neutral phrases that may stand after one.
    """

    words: Mapping[str, tuple[str, ...]]
    places: Mapping[str, tuple[str, ...]]
    frames: Mapping[str, tuple[str, ...]]
    openers: tuple[str, ...]
    closers: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip().replace("_", " ") for word in text.split())


ADJECTIVES = {
    1: _words(
        "good great excellent wonderful superb lovely brilliant delightful fantastic charming splendid pleasant "
        "outstanding impressive perfect beautiful"
    ),
    0: _words(
        "bad terrible awful horrible dreadful dull poor disappointing boring mediocre annoying unpleasant miserable "
        "weak tedious ugly"
    ),
}
VERBS = {1: _words("loved enjoyed liked admired praised"), 0: _words("hated disliked despised criticised regretted")}
STEMS = {1: _words("love enjoy like admire praise"), 0: _words("hate dislike despise criticise regret")}

SHARED = {
    "not": _words("not never hardly"),
    "never": _words("never hardly"),
    "dont": _words("not"),
    "nobody": _words("nobody no_one few_of_us"),
    "but": _words("but yet"),
    "although": _words("although though"),
    "despite": _words("despite"),
    "very": _words("really truly absolutely incredibly extremely utterly simply thoroughly so"),
    "truly": _words("really truly absolutely incredibly extremely thoroughly"),
    "rather": _words("really very exactly particularly"),
}

TRAIN = Lexicon(
    words={
        "who": _words(
            "Adam Agnes Albert Amelia Andrew Anna Anton Arthur Barbara Beatrice Ben Bernard Bridget Carmen Caroline "
            "Charles Christine Clara Claude Daniel David Deborah Dennis Diana Dominic Dora Edward Eleanor Elisa Emma "
            "Eric Ernest Eva Fatima Florence Frances Frank Gabriel George Gerald Gloria Hannah Harold Harriet Hector "
            "Helen Henry Ida Isabel Ivan Jacob James Jane Jasper Joan Joseph Judith Julia Karl Kate Kenneth Laura "
            "Leonard Leo Lena Lucy Louis Magda Marcus Margaret Maria Martin Maurice Max Michael Monica Nancy Nicole "
            "Nora Oliver Oscar Patricia Paula Philip Rachel Raymond Rebecca Richard Rita Robert Roland Rosa Samuel "
            "Sarah Sofia Stella Susan Sylvia Teresa Thomas Tina Toby Valerie Vera Victor Vincent Walter Wendy William "
            "Yusuf Zoe"
        ),
        "relative": _words(
            "neighbour brother aunt cousin boss uncle colleague teacher landlord dentist friend mother daughter "
            "student accountant gardener roommate doctor partner butcher coach son"
        ),
        "day": _words("morning afternoon evening Monday Wednesday weekend holiday night birthday day autumn"),
        "event": _words(
            "drive flight meeting week journey walk lecture winter quarrel bus_ride party dinner phone_call rehearsal "
            "game month course swim race"
        ),
        "weather": _words("weather traffic wind street noise sky rain snow square river car_park air"),
        "paper": _words("newspaper letter magazine poem report postcard blog diary thriller"),
        "time": _words(
            "last_summer on_Tuesday back_in_April in_my_view to_tell_the_truth for_once a_few_days_ago at_noon "
            "this_time on_the_first_day in_the_end at_last every_year in_June just_before_lunch around_ten_o'clock "
            "the_other_day on_a_Saturday late_in_May once_more"
        ),
        "where": _words(
            "near_the_old_bridge behind_the_church by_the_lake on_the_corner in_the_north of_the_village "
            "across_the_field beside_the_town_hall under_the_arches on_the_hill opposite_the_school "
            "at_the_end_of_the_road"
        ),
        "came": _words(
            "came_to_visit called_us moved_to_the_coast had_time_for_us brought_the_children was_in_town changed_jobs "
            "showed_us_around took_us_along waited_for_the_bus lost_the_keys wanted_to_leave finished_work "
            "got_married"
        ),
        "told": _words("wrote_to_us told_me remembers_it put_it has_noted_down heard_from_them keeps_telling_us knows"),
    },
    places={
        "restaurant": _words(
            "soup bread dessert coffee salad steak wine menu waiter service fish rice sauce omelette table cheese "
            "pasta curry"
        ),
        "hotel": _words(
            "room bed breakfast pool balcony lobby porter terrace shower carpet pillow lift bathroom minibar corridor "
            "buffet"
        ),
        "cinema": _words(
            "film plot acting ending music dialogue cast script sound picture trailer director villain comedy sequel "
            "popcorn"
        ),
        "phone shop": _words(
            "screen battery camera speaker keyboard charger manual case price warranty headset tablet printer adapter "
            "laptop"
        ),
        "bookshop": _words(
            "novel story prose hero cover translation chapter atlas biography comic author preface anthology "
            "paperback essay"
        ),
        "railway": _words(
            "train seat driver timetable ticket station lounge window luggage_rack snack conductor platform "
            "compartment"
        ),
        "market": _words(
            "honey bacon oyster_stall jam cabbage basket melon salmon cake pie lettuce cider mustard pumpkin trout"
        ),
        "zoo": _words("aquarium keeper tiger_show monkey_house map fountain penguin_pool bear_cage owl_house entrance"),
        "college": _words("blackboard professor canteen seminar laboratory textbook tutor campus dormitory curriculum"),
        "furniture store": _words(
            "sofa lamp wardrobe armchair mattress bookcase desk rug curtain cushion drawer mirror stool cupboard "
            "blanket"
        ),
        "beach": _words("sand lifeguard ice_cream parasol lighthouse boat bay kiosk sunset promenade volleyball_net"),
        "clinic": _words("nurse surgeon waiting_room receptionist bandage vaccine physician wheelchair ward medicine"),
    },
    frames=TRAIN_FRAMES,
    openers=(
        "{time}", "{time}", "when {who} {came}", "as {who} {told}", "at the {place} {where}",
        "{time}, when {who} {came}", "{where}, after {who} {came}", "before {who} and {who} {came}",
    ),
    closers=(
        "{time}", "when {who} {came}", "as {who} {told}", "{where}", "at the {place} {where}", "while {who} {came}",
        "before {who} {came} {where}", "{time}, and then {who} {came}",
    ),
)  # fmt: skip

VALIDATION = Lexicon(
    words={
        "who": _words(
            "Alice Angela Boris Bruno Cecilia Conrad Edith Edmund Felix Fiona Gregory Greta Hugo Ingrid Irene Jonas "
            "Lydia Matilda Miriam Nathan Olga Otto Peter Priscilla Rupert Ruth Sebastian Simon Tamara Theodore Ulrich "
            "Ursula"
        ),
        "relative": _words("sister nephew grandfather tenant plumber lawyer flatmate barber niece tailor"),
        "day": _words("Sunday Friday spring_day anniversary midnight dawn"),
        "event": _words("ferry_crossing journalist's_call marathon exam wedding detour storm parade picnic"),
        "weather": _words("fog crowd harbour alley heat pavement"),
        "paper": _words("recipe poster telegram pamphlet brochure"),
        "time": _words(
            "in_September on_Thursday in_our_opinion two_weeks_later on_the_second_visit a_century_ago tonight"
        ),
        "where": _words("behind_the_mill next_door in_the_valley near_the_forest by_the_canal on_the_island"),
        "came": _words(
            "joined_us drove_back looked_for_the_parking_meter returned_from_the_islands explained_the_rules "
            "bought_stamps missed_the_tram"
        ),
        "told": _words("explained_to_us confirmed wrote_in_an_email mentioned recalls"),
    },
    places={
        "concert hall": _words("choir drummer melody stage lighting encore violinist overture pianist chorus trumpet"),
        "museum": _words("exhibition gallery tour guide sculpture painting catalogue courtyard portrait mosaic fresco"),
        "garage": _words("engine steering brake mechanic gearbox dashboard invoice paint bumper exhaust tyre"),
        "gym": _words("trainer sauna treadmill locker towel mat playlist smoothie massage instructor bench"),
        "castle": _words("tower dungeon moat banquet archer tapestry chapel throne orchard knight"),
    },
    frames=VALIDATION_FRAMES,
    openers=(
        "{time}", "when {who} {came}", "as {who} {told}", "at the {place} {where}", "{where}, when {who} {came}",
    ),
    closers=(
        "{time}", "when {who} {came}", "as {who} {told}", "{where}", "while {who} and {who} {came}", "and {who} {came}",
    ),
)  # fmt: skip
