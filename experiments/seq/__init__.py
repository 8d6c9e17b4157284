"""SEQ (Support-Exemplar-Query): what its two experiments share."""
