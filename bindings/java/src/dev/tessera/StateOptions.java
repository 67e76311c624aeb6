// Settings of a save.
package dev.tessera;

/** Settings of {@link Session#save}. */
public final class StateOptions extends Settings<StateOptions> {
  /** Save keys and values beside the tokens; without them a restored session computes its tokens again. */
  public StateOptions cache(boolean save) {
    return set("state.cache", save);
  }
}
