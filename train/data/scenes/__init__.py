"""Drawn scenes with exact labels: ``python -m train.data.scenes --out FOLDER --count N --seed S``.

A scene is data (`plan.Plan`: patches of ground, things that stand on it), the renderer paints it under a light
(`render.draw`), an edit makes the scene of another date (`edits`). Labels are read off what was painted, never
estimated.
"""
