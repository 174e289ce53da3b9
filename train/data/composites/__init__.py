"""Real objects on real ground, exactly labelled: ``python -m train.data.composites --data PREPARED --out FOLDER``.

Objects are cut from the prepared sets by their masks and pasted where the ground looks like the ground they came from;
one image gives counting and grounding, two dates of it a change that is known to the pixel. A composite of one side of
the split is made of records of that side alone (`pool.Pool`).
"""
