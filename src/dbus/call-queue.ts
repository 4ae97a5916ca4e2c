/** Calls that wait for their answer, fair between those who asked: one of each in turn, and not too many of anyone. */

export class CallQueue<T> {
  private readonly limit: number;
  /** In the order in which they are served next. */
  private readonly bySender = new Map<string, T[]>();

  /** `limit`: how many calls of one sender may wait. */
  constructor(limit: number) {
    this.limit = limit;
  }

  /** How many senders wait. */
  get senders(): number {
    return this.bySender.size;
  }

  /** False when too many calls of this sender wait already. */
  push(sender: string, call: T): boolean {
    const waiting = this.bySender.get(sender);
    if (waiting === undefined) this.bySender.set(sender, [call]);
    else if (waiting.length < this.limit) waiting.push(call);
    else return false;
    return true;
  }

  /** The oldest call of the sender whose turn it is; that sender's next turn comes after everybody else's. */
  shift(): T | undefined {
    for (const [sender, waiting] of this.bySender) {
      this.bySender.delete(sender);
      const call = waiting.shift();
      if (waiting.length > 0) this.bySender.set(sender, waiting);
      return call;
    }
    return undefined;
  }

  clear(): void {
    this.bySender.clear();
  }
}
