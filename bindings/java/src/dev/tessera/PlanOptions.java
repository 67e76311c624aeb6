// Settings of a plan.
package dev.tessera;

/** Settings of {@link Runtime#plan}: budgets here, and whatever the model and engine would be given by set. */
public final class PlanOptions extends Settings<PlanOptions> {
  /** A budget of host memory. */
  public PlanOptions hostBytes(long bytes) {
    return set("plan.host_bytes", bytes);
  }

  /** A budget of a GPU's memory. */
  public PlanOptions deviceBytes(long bytes) {
    return set("plan.device_bytes", bytes);
  }

  /** Measure this machine's rates for a tenth of a second. */
  public PlanOptions probe(boolean probe) {
    return set("plan.probe", probe);
  }
}
