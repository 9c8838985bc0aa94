"""Fuzzing of everything that reads files which paribus has not written.

    PYTHONPATH=tests python -m fuzzing                       # every target, a minute each
    PYTHONPATH=tests python -m fuzzing npz spec --seconds 600

``targets`` says what is read and has a valid input for each; ``mutations`` makes others of it, with
and without knowing the format; ``watching`` sees what an input does to the machine; ``engine`` runs
a target in a child of its own and keeps the inputs that reach new lines of ours. An input may be
read, or be refused with one of paribus' own errors. All else is a finding: another exception, more
than a few seconds, too much memory, a file touched outside of the scratch folder, a process or a
connection begun.
"""
