import { describe, expect, test } from 'vitest';

import { CallQueue } from '../../src/dbus/call-queue.ts';

describe('calls that wait', () => {
  test('are served one of each sender in turn, each sender in its own order', () => {
    const queue = new CallQueue<string>(10);
    for (const call of ['a1', 'a2', 'a3', 'b1', 'c1', 'c2']) queue.push(call[0]!, call);
    expect(queue.senders).toBe(3);
    const served: (string | undefined)[] = [];
    for (let i = 0; i < 4; i++) served.push(queue.shift());
    queue.push('b', 'b2');
    for (let i = 0; i < 4; i++) served.push(queue.shift());
    expect(served).toEqual(['a1', 'b1', 'c1', 'a2', 'c2', 'a3', 'b2', undefined]);
  });

  test('are no more of one sender than the limit, whatever the others have', () => {
    const queue = new CallQueue<number>(2);
    expect([1, 2, 3].map((call) => queue.push('a', call))).toEqual([true, true, false]);
    expect(queue.push('b', 4)).toBe(true);
    expect(queue.shift()).toBe(1);
    expect(queue.push('a', 5)).toBe(true);
  });
});
