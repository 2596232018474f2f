"""All FHIR data that lies beside the project: each resource accounted for, and what some of it must say."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from producers.readers.fhir import Account, looks_like_fhir, read_fhir
from producers.readers.record import Read
from tests.shared_data import NOT_HERE, SHARED_DATA

FHIR = SHARED_DATA / "fhir"
SYNTHEA = sorted(FHIR.glob("synthea_r4_*/*.json.gz"))
pytestmark = pytest.mark.skipif(not FHIR.is_dir(), reason=NOT_HERE)


def content(path: Path) -> bytes:
    """A file, unzipped."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def read(*paths: Path, account: Account | None = None) -> list[Read]:
    """The records of these files as one input."""
    inputs = [(path.name, io.BytesIO(content(path))) for path in paths]
    return list(read_fhir(inputs, account=account or Account()))


def of(name: str) -> Read:
    """The record of a bundle by its patient's first name."""
    (found,) = read(next(path for path in SYNTHEA if path.name.startswith(name)))
    return found


def test_every_resource_of_the_bundles_has_one_fate() -> None:
    """By type as many as stand in the files; as many medications are taken as SOURCES.md's table has active.

    The dead are read as if they lived, for their record is refused as a whole.
    """
    table = dict(
        re.findall(r"^\| ([A-Z]\S+\.json) \|.*\| (\d+) \|$", (FHIR / "SOURCES.md").read_text(), re.MULTILINE)
    )
    assert len(table) == len(SYNTHEA) == 28
    there: Counter[str] = Counter()
    account = Account()
    for path in SYNTHEA:
        alive = re.sub(rb'"deceasedDateTime":\s*"[^"]*",?', b"", content(path))
        there.update(re.findall(r'"resource":\s*\{\s*"resourceType":\s*"(\w+)"', alive.decode()))
        (found,) = read_fhir([(path.name, io.BytesIO(alive))], account=account)
        assert found.vignette is not None
        assert len(found.vignette.context.medications) == int(table[path.name.removesuffix(".gz")]), path.name
    assert account.read == account.fates() == there
    assert not account.unreadable
    assert not account.set_aside


def test_the_dead_are_refused_with_all_that_was_sent() -> None:
    """Nothing is recommended for them; the account has their resources as set aside."""
    account = Account()
    path = next(path for path in SYNTHEA if path.name.startswith("Roberto"))
    (found,) = read(path, account=account)
    assert found.error is not None
    assert found.error.code == "deceased"
    assert account.set_aside["MedicationRequest", "deceased"] == 10
    assert account.balanced()
    assert len(json.loads(found.text)["entry"]) == len(json.loads(content(path))["entry"])


def test_the_bulk_export_is_joined_by_patient() -> None:
    """Seven patients over five files, two of them dead; their resources are handed back with them."""
    paths = sorted((FHIR / "bulk_export_ndjson").iterdir())
    account = Account()
    reads = read(*paths, account=account)
    lines = [json.loads(line) for path in paths for line in content(path).splitlines()]
    assert account.read == account.fates() == Counter(each["resourceType"] for each in lines)
    assert sorted(each.error.code for each in reads if each.error) == ["deceased", "deceased"]
    alive = {each.vignette.id: each.vignette for each in reads if each.vignette}
    aspirin = alive["cbc86e51-9eca-3855-76ec-c058f72c5761"]
    assert aspirin.context.age == 25
    assert aspirin.context.sex == "male"
    assert "Aspirin" in aspirin.context.allergies
    assert "# Chief Complaint" in aspirin.vignette
    asthmatic = alive["fb7c882a-f897-e7c5-67e0-825e7fd55d15"]
    assert len(asthmatic.context.medications) == 3
    for each in reads:
        if each.error:
            kinds = Counter(e["resource"]["resourceType"] for e in json.loads(each.text)["entry"])
            assert kinds["Patient"] == 1
            assert kinds["MedicationRequest"] > 1


def test_the_single_resources_are_one_patient() -> None:
    """US Core's examples: an allergy, two conditions, a coded and a contained medicine, each its own file."""
    (found,) = read(*sorted((FHIR / "us_core_examples").iterdir()))
    assert found.vignette is not None
    context = found.vignette.context
    assert context.allergies == ["sulfonamide antibacterial"]
    assert {each.name for each in context.medications} == {
        "Nizatidine 15 MG/ML Oral Solution",
        "Nizatidine 15 MG/ML Oral Solution [Axid]",
    }
    assert context.medications[0].dose == "10 mL bid"
    assert set(context.conditions) == {"Active Duodenal Ulcer", "Burnt Ear"}


def test_an_allergy_alone_is_reported() -> None:
    """Without its patient it is neither sent nor dropped."""
    (found,) = read(FHIR / "us_core_examples" / "allergyintolerance-example.json")
    assert found.error is not None
    assert found.error.code == "no_patient"
    assert json.loads(found.text)["id"] == "example"


def test_the_interaction_requests_are_read_or_refused() -> None:
    """XML is refused by name; of the requests each patient is reported, for these hold none that fits."""
    paths = sorted((FHIR / "pddi_cds").iterdir())
    account = Account()
    reads = read(*paths, account=account)
    assert account.balanced()
    assert account.unreadable == {"fhir_xml": sum(path.suffix == ".xml" for path in paths)}
    assert {each.error.code for each in reads if each.error} == {
        "fhir_xml", "no_patient", "nothing_known", "duplicate",
    }  # fmt: skip
    assert all(looks_like_fhir(content(path)[:4096]) for path in paths if "order" in path.name)


def test_a_request_with_its_patient_is_a_record() -> None:
    """Warfarin is taken, ketorolac is under consideration: it is no current medication."""
    folder = FHIR / "pddi_cds"
    reads = read(folder / "warfarin-nsaids-order-sign-no-coordination.json", folder / "patient-bundle.json")
    found = next(each.vignette for each in reads if each.vignette)
    assert found.id == "f101"
    assert found.context.sex == "male"
    assert [each.name for each in found.context.medications] == ["Warfarin Sodium 0.5 MG Oral Tablet"]
    assert "under consideration, not yet given: Ketorolac" in found.vignette
    assert found.context.conditions == ["Acute duodenal ulcer with hemorrhage (differential)"]


def test_three_patients_by_hand() -> None:
    """Age on the last day, active conditions and allergies, doses, reported and computed eGFR."""
    kermit = of("Kermit").vignette
    assert kermit is not None
    assert kermit.id == "1f456f0a-acb1-4728-82af-01ca57083c7b"
    assert (kermit.context.age, kermit.context.sex, kermit.context.egfr) == (27, "male", 110.4)
    assert kermit.context.conditions == ["Hypertension"]
    assert set(kermit.context.allergies) == {
        "Allergy to bee venom", "Shellfish allergy", "Allergy to peanuts",
    }  # fmt: skip
    assert {(each.name, each.dose) for each in kermit.context.medications} == {
        ("Loratadine 5 MG Chewable Tablet", "as needed"),
        ("NDA020800 0.3 ML Epinephrine 1 MG/ML Auto-Injector", "as needed"),
        ("Hydrochlorothiazide 25 MG", None),
    }
    felipa = of("Felipa").vignette
    assert felipa is not None
    assert felipa.context.egfr == 79.7
    assert felipa.context.medications[0].name == "Simvistatin 10 MG"
    assert felipa.context.medications[0].dose == "dose 1, once a day"
    elvina = of("Elvina").vignette
    assert elvina is not None
    assert elvina.context.age == 67
    assert elvina.context.egfr == pytest.approx(89.5, abs=0.2)  # creatinine 0.734 mg/dL, by hand
    assert elvina.context.allergies == ["Shellfish allergy"]


def test_nothing_of_who_he_is_stands_in_the_text() -> None:
    """Names, numbers, addresses are kept apart; without notes none of them is in the vignette."""
    found = of("Kermit").vignette
    assert found is not None
    known = found.identity
    assert known.names[0] == "Kermit Trantow"
    assert known.birth_date is not None
    assert known.addresses
    for each in (*known.names, *known.identifiers, *known.contacts, str(known.birth_date)):
        assert each not in found.vignette
