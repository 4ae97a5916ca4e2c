interface Due {
  at: number;
  order: number;
  run(): void;
}

/** What is to happen when; a binary heap. What is due at the same moment happens in the order in which it was said. */
export class Timeline {
  now = 0;
  readonly #heap: Due[] = [];
  #order = 0;

  get next(): number {
    return this.#heap[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  in(milliseconds: number, run: () => void): void {
    this.at(this.now + milliseconds, run);
  }

  at(at: number, run: () => void): void {
    const heap = this.#heap;
    heap.push({ at, order: this.#order++, run });
    for (let child = heap.length - 1; child > 0; ) {
      const parent = (child - 1) >> 1;
      if (!before(heap[child]!, heap[parent]!)) break;
      [heap[child], heap[parent]] = [heap[parent]!, heap[child]!];
      child = parent;
    }
  }

  /** Does what is due first. */
  step(): void {
    const heap = this.#heap;
    const [first] = heap;
    const last = heap.pop();
    if (first === undefined || last === undefined) return;
    if (heap.length > 0) {
      heap[0] = last;
      for (let parent = 0; ; ) {
        let least = parent;
        for (const child of [2 * parent + 1, 2 * parent + 2]) {
          if (child < heap.length && before(heap[child]!, heap[least]!)) least = child;
        }
        if (least === parent) break;
        [heap[parent], heap[least]] = [heap[least]!, heap[parent]!];
        parent = least;
      }
    }
    first.run();
  }
}

function before(a: Due, b: Due): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
