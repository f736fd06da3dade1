"""The schema as migrations, and the statements, as SQL files.

A package with this file, so that another folder of the same name on the path cannot mix with it.
"""
