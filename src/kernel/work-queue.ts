/** What became of each key of a batch: a value, or why it failed. */
export type Outcomes<K, T> = Map<K, PromiseSettledResult<T>>;

interface Batch<K, T> {
  work: (keys: K[]) => Promise<Outcomes<K, T>>;
  keys: Set<K>;
  done: Promise<Outcomes<K, T>>;
}

/** One piece of work after the other, in the order of the calls; a failed one does not stop the next. */
export class WorkQueue<K, T> {
  #last: Promise<unknown> = Promise.resolve();
  /** The batch that stands last and has not begun. */
  #open: Batch<K, T> | undefined;

  run<R>(work: () => Promise<R>): Promise<R> {
    this.#open = undefined;
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  /** Calls in a row with the same `work` wait together and are worked on as one; each learns what became of its key. */
  async join(work: Batch<K, T>['work'], key: K): Promise<T> {
    if (this.#open?.work !== work) {
      const keys = new Set<K>();
      const done = this.run(() => {
        if (this.#open?.keys === keys) this.#open = undefined;
        return work([...keys]);
      });
      this.#open = { work, keys, done };
    }
    const { keys, done } = this.#open;
    keys.add(key);
    const outcome = (await done).get(key)!;
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  }
}

/** Does it for all keys at once; one failure does not hold up the others. */
export async function forEach<K, T>(
  keys: readonly K[],
  work: (key: K) => Promise<T>,
): Promise<Outcomes<K, T>> {
  const results = await Promise.allSettled(keys.map(work));
  return new Map(keys.map((key, i) => [key, results[i]!]));
}
