"""The words of orders that are no names: form, route, frequency, salts, what joins and what instructs."""

from __future__ import annotations


def _map(lines: str) -> dict[str, str]:
    """Lines "meaning: word word" → word → meaning."""
    found: dict[str, str] = {}
    for line in lines.strip().splitlines():
        meaning, _, written = line.partition(":")
        found.update(dict.fromkeys(written.split(), meaning.strip()))
    return found


def word_set(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


FORMS = _map("""
    tablet: tablet tablets tab tabs tbl tbs odt caplet caplets tablette tabletten filmtablette filmtabletten
    tablet : comprimido comprimidos comprime comprimes compressa compresse
    capsule: capsule capsules cap caps kapseal softgel softgels gelcap gelcaps sprinkle sprinkles
    solution: solution solutions soln sol elixir liquid concentrate
    suspension: suspension susp
    syrup: syrup syr
    injection: injection injectable inj injections
    infusion: infusion drip ivpb premix
    auto-injector: injector autoinjector flexpen kwikpen solostar pen pens flextouch tempo penfill
    syringe: syringe syringes
    inhaler: inhaler inhalers mdi hfa dpi diskus respimat handihaler turbuhaler ellipta inhl
    inhaler : respiclick flexhaler
    patch: patch patches ptch
    cream: cream crm
    ointment: ointment oint
    gel: gel
    lotion: lotion
    foam: foam
    shampoo: shampoo
    spray: spray sprays
    drops: drop drops gtt gtts tropfen
    suppository: suppository suppositories supp
    enema: enema enemas
    lozenge: lozenge lozenges troche troches
    powder: powder pwdr packet packets pkt pkts granules
    implant: implant
    intrauterine system: intrauterine iud
    ring: ring
    pack: pack packs dosepak dosepack pak kit
    gum: gum
    film: film films
    nebulizer solution: nebulizer nebuliser neb nebs nebulized nebulised
""")

ROUTES = _map("""
    oral: po oral orally mouth per-os os chewable chew chewed swallow odt
    intravenous: iv intravenous intravenously ivp ivpb ivf
    intramuscular: im intramuscular intramuscularly
    subcutaneous: sc sq subq subcut subcutaneous subcutaneously subc
    sublingual: sl sublingual sublingually tongue subl
    rectal: pr rectal rectally rectum
    vaginal: pv vaginal vaginally vagina
    inhaled: inhaled inhalation inhal inhale puff puffs actuat actuation actuations
    nebulized: nebulized nebulised nebulizer nebuliser neb nebs
    topical: topical topically skin
    transdermal: transdermal transdermally td
    ophthalmic: ophthalmic ophth opth eye eyes od ou
    otic: otic ear ears
    nasal: nasal nasally intranasal nostril nostrils nare nares
    buccal: buccal buccally
    mucosal: mucosal oromucosal
    intrauterine: intrauterine
    intradermal: intradermal
    intrathecal: intrathecal
    intraosseous: io intraosseous
    feeding tube: ngt ogt peg-tube gtube
""")

FORM_ROUTES = {
    "tablet": "oral",
    "capsule": "oral",
    "syrup": "oral",
    "inhaler": "inhaled",
    "patch": "transdermal",
    "cream": "topical",
    "ointment": "topical",
    "gel": "topical",
    "lotion": "topical",
    "foam": "topical",
    "shampoo": "topical",
    "suppository": "rectal",
    "enema": "rectal",
    "nebulizer solution": "nebulized",
    "intrauterine system": "intrauterine",
    "ring": "vaginal",
}
"""The route where a form leaves no other and none is written."""

FREQUENCIES = _map("""
    once daily: qd daily od qday everyday
    twice daily: bid bd
    three times daily: tid tds
    four times daily: qid qds
    at bedtime: qhs hs bedtime nightly qpm-hs nocte
    every morning: qam mane
    every evening: qpm qevening
    every other day: qod
    once weekly: weekly qweek qwk
    once monthly: monthly qmonth
    once: stat
    with meals: ac pc qac
""")

RELEASES = _map("""
    extended-release: er xr xl sr la cr extended sustained sa xt cd
    delayed-release: dr ec delayed enteric
    chewable: chewable chew
    orally disintegrating: odt disintegrating
""")

SALTS = word_set("""
    hydrochloride hcl dihydrochloride sodium disodium potassium calcium magnesium zinc succinate na hbr
    succ tart tartrate bitartrate besylate besilate maleate fumarate mesylate mesilate tosylate sulfate
    sulphate bisulfate phosphate acetate citrate nitrate bromide hydrobromide chloride carbonate gluconate
    lactate propionate dipropionate furoate xinafoate valerate hyclate monohydrate dihydrate trihydrate
    anhydrous decanoate palmitate pamoate cypionate enanthate tromethamine olamine medoxomil diolamine
    hemihydrate salt arginine erbumine axetil proxetil cilexetil etexilate mofetil alafenamide disoproxil
    base embonate estolate ethylsuccinate stearate hemifumarate hydroiodide iodide mucate napsylate so4
    sulf oxalate pivoxil malate camsylate meglumine aspartate dimesylate ditosylate lysine esylate
    polistirex polacrilex acetonide benzoate nicotinate saccharate monosodium hemihydrochloride sesquihydrate
""")

MINERALS = frozenset({"potassium", "calcium", "magnesium", "zinc", "sodium"})
"""Names of their own that are also the salt of another: "losartan potassium"."""

JOINS = word_set("""
    and with plus w or then followed c also
""")

ASIDES = word_set("""
    for prn if when until because due while indication titrate taper hold monitor check recheck follow
    avoid may call repeat refill refills disp dispense without unless since secondary as-needed dx ref
    reason to-treat caution adjust goal target stop discard maximum max total
""")
"""From these words on a reason or an instruction is told, not a drug."""

NOT_THE_DRUG = word_set("""
    antagonist antagonists inhibitor inhibitors blocker blockers agonist agonists analog analogs analogue
    analogues sparing receptor receptors channel deficiency binder binders depleting induced like level
    levels derivative reversal withdrawal resistant resistance based molecular sensitizer sensitizers
    modulator modulators overdose toxicity intoxication strips lancets lancet pump supplies testing panel
    screen evaluation education teaching
""")
"""Beside one of these a name is not an order for that drug: "potassium-sparing", "heparin-induced"."""

DEVICES = word_set("syringe syringes pump")
"""Right after the name of many drugs ("insulin") these are what the order is for."""

FILLERS = word_set("""
    a an the of per each every other at in on by to into from before after during meals meal food
    breakfast dinner lunch water milk juice morning evening night noon day days week weeks month months
    hour hours hourly once twice thrice one two three four five six half time times x now q qday minutes
    minute min hr hrs h d wk year years mg mcg ml g gm gram grams kg meq mmol units unit unt u iu l cc mgs
    cm oz million ug microgram micrograms milligram milligrams ir mr immediate controlled modified release
    coated low high dose doses dosed standard generic long short acting loading maintenance course vial
    vials ampule ampules amp amps bag bags bottle single multi multidose pediatric adult children
    childrens infant infants junior extra regular strength ds ss max fast daytime nighttime prefilled
    cartridge metered drug system dry bolus push piggyback continuous continuously take takes taking taken
    give given start started starting continue continued continues increase increased decrease decreased
    reduce add added change changed switch switched use used using apply applied instill inhale insert
    place inject administer resume begin dissolve needed directed as is currently home current patient pt
    rx sig order orders medication medications med meds prescription prescribed drugs otc brand name tx
    therapy treatment treat trial supplement supplements product daw nka sliding scale ssi protocol
    pharmacy x1 inert ingredients ingredient human recombinant inhalational pressurized dispersible
    effervescent soluble micronized micronised microcrystals macrocrystals free film viscous medicated pad
    pads swab wipe kit usp bp nf sugar both left right affected area areas side thin layer scalp face
    under slow slowly over titrated weight total liter liters litre litres via through tube ng nasogastric
    cannula nc mask room ra lpm flow mouthwash rinse swish swallow spit applicator applicatorful
    applicatorfuls inch teaspoon teaspoonful teaspoons tsp tablespoon tablespoons tbsp scoop capful sachet
    sachets pill pills chewtab minitab minitabs piece pieces puffs full dosage only additional next first
    second last then this that these his her their he she it am pm no number qty quantity ok not new old
    same again please benign oint aerosol aerosols aero nasal liq conc cfc cfcf f ud porcine bovine
    preservative dilution diluted diluent lyophilized reconstituted emulsion male female women men womens
    mens mature senior complete formula advanced abuse deterrent lf adsorbed flush replacement
    burst es mwf tiw shot shots
""")

NAMED_FORMS = {"inh": "inhaler", "ns": "spray"}
"""After a drug's name these are forms; alone they are drugs (isoniazid, normal saline)."""

KNOWN = frozenset().union(FORMS, ROUTES, FREQUENCIES, RELEASES, SALTS, JOINS, ASIDES, FILLERS)
"""Every word of an order that is no name."""
