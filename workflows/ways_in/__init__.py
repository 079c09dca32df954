"""Ways in from other libraries: networks of junctions as estimators of scikit-learn and as a node of reservoirpy."""
