"""The simulated panel: an OpenAI-compatible HTTP server whose twelve models are planted, not trained.

    knowledge   what is first-line practice, read from drugs.csv and conditions.toml
    case        a prompt's text becomes a `Case`: conditions, allergies, drugs, pregnancy, eGFR, age
    models      the twelve models: skill, habits, biases, latency
    answering   case and model become a recommendation
    reviewing   case, shown answer and model become a grade
    wording     how an answer is written: fences, prose, brands, signatures
    faults      what goes wrong, at which rate
    capacity    how much it bears: calls at once and a minute
    ledger      what was called, how often, and whether twice at once
    server      the HTTP side

It imports nothing of the project and nobody imports it. Everything is drawn from (seed, model, case, answer,
attempt) by hashing (`chance`), so nothing depends on the order of calls.
"""
