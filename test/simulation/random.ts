/** sfc32: the same seed draws the same numbers, on every machine. */
export class Random {
  readonly #state: Int32Array;

  constructor(seed: number, stream = 0) {
    this.#state = Int32Array.of(seed, Math.floor(seed / 2 ** 32), stream, 1);
    for (let round = 0; round < 12; round++) this.next();
  }

  /** 0 <= x < 1 */
  next(): number {
    const s = this.#state;
    const sum = (s[0]! + s[1]! + s[3]!) | 0;
    s[3] = s[3]! + 1;
    s[0] = s[1]! ^ (s[1]! >>> 9);
    s[1] = (s[2]! + (s[2]! << 3)) | 0;
    s[2] = ((s[2]! << 21) | (s[2]! >>> 11)) + sum;
    return (sum >>> 0) / 2 ** 32;
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  between(low: number, high: number): number {
    return low + (high - low) * this.next();
  }

  /** low..high, both included. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.next() * list.length)]!;
  }

  /** Pause until the next of events that come at random, `mean` apart. */
  pause(mean: number): number {
    return -mean * Math.log(1 - this.next());
  }
}
