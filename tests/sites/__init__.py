"""What site developers write for the plug points: ``docs/plug-points.md`` shows these files."""
