"""Evidence: exact tests on twins, verdicts, the ledger behind them and the record for others."""
