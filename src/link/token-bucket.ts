/** So many a second, and as many in one burst. Times in milliseconds. */
export class TokenBucket {
  readonly #perSecond: number;
  #tokens: number;
  #refilled: number;

  constructor(perSecond: number, now: number) {
    this.#perSecond = perSecond;
    this.#tokens = perSecond;
    this.#refilled = now;
  }

  /** False when there is none left. */
  take(now: number): boolean {
    const refill = ((now - this.#refilled) * this.#perSecond) / 1000;
    this.#tokens = Math.min(this.#perSecond, this.#tokens + refill);
    this.#refilled = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
