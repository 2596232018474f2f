"""Results as FHIR R4 (4.0.1): proposals for a clinician's review, never orders.

    rows of a submission ─► MedicationRequest   one a drug of the list, and one (doNotPerform) a drug to stop
                            DetectedIssue       one a finding of the safety rules that remains
                            Provenance          which model versions prepared them, for which consultation
                            OperationOutcome    for a record that was set aside, failed, or gave no request

`resources` is what a route calls; `resources_of` is pure. Ids are made from ours (UUID version 5 in the
consultation's or record's id), so the same result gives the same resources whenever it is asked for.
"""

from __future__ import annotations

from producers.fhir.result import resources_of
from producers.fhir.told import Told, opened, resources

__all__ = ["Told", "opened", "resources", "resources_of"]
