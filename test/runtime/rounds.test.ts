import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Correction, Rounds } from '../../src/runtime/rounds.ts';

const microtasks = async (count: number) => {
  for (let i = 0; i < count; i++) await Promise.resolve();
};

/** A round that goes on until it is told to end. */
function held() {
  const begun: (() => void)[] = [];
  const round = () => new Promise<void>((resolve) => begun.push(resolve));
  return { begun, round };
}

describe('rounds', () => {
  it('one is under way and one is due, however often it is asked for; what one turn asks for is one', async () => {
    const { begun, round } = held();
    const rounds = new Rounds(round);
    for (let i = 0; i < 3; i++) rounds.due();
    await microtasks(10);
    expect(begun).toHaveLength(1);
    for (let i = 0; i < 3; i++) rounds.due();
    await microtasks(10);
    expect(begun).toHaveLength(1);
    begun[0]!();
    await microtasks(10);
    expect(begun).toHaveLength(2);
    begun[1]!();
    await rounds.idle();
    expect(begun).toHaveLength(2);
  });

  it('none is lost, at whatever moment it is asked for', async () => {
    for (let moment = 0; moment < 20; moment++) {
      let wish = 0;
      let carriedOut = 0;
      const rounds = new Rounds(async () => {
        const newest = wish;
        await Promise.resolve();
        carriedOut = newest;
      });
      rounds.due();
      await microtasks(moment);
      wish = 1;
      rounds.due();
      await microtasks(20);
      expect(carriedOut, `after ${moment} microtasks`).toBe(1);
    }
  });

  it('idle is when what was due is done; what is dropped is not', async () => {
    const { begun, round } = held();
    const rounds = new Rounds(round);
    await rounds.idle();
    rounds.due();
    await microtasks(3);
    rounds.due();
    let idle = false;
    const waiting = rounds.idle().then(() => (idle = true));
    begun[0]!();
    await microtasks(10);
    expect([idle, begun.length]).toEqual([false, 2]);
    rounds.due();
    const dropped = rounds.drop();
    begun[1]!();
    await Promise.all([waiting, dropped]);
    expect(begun).toHaveLength(2);
    rounds.due();
    await microtasks(3);
    expect(begun).toHaveLength(3);
  });

  it('there are none after close, but for the one under way, which is waited for', async () => {
    const { begun, round } = held();
    const rounds = new Rounds(round);
    rounds.due();
    await microtasks(3);
    rounds.due();
    let closed = false;
    const closing = rounds.close().then(() => (closed = true));
    await microtasks(10);
    expect(closed).toBe(false);
    begun[0]!();
    await closing;
    rounds.due();
    await microtasks(10);
    expect(begun).toHaveLength(1);
  });

  it('what is due while there may be none waits until it is asked for again', async () => {
    let may = false;
    let count = 0;
    const rounds = new Rounds(
      async () => {
        count++;
        may = false;
      },
      () => may,
    );
    rounds.due();
    await rounds.idle();
    expect(count).toBe(0);
    may = true;
    rounds.due();
    rounds.due();
    await rounds.idle();
    expect(count).toBe(1);
  });
});

describe('correction', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
  afterEach(() => void vi.useRealTimers());

  it('is made at once, and then once a second, and not after close', () => {
    let count = 0;
    const correction = new Correction(() => count++);
    correction.due();
    expect(count).toBe(1);
    for (let i = 0; i < 5; i++) correction.due();
    vi.advanceTimersByTime(999);
    expect(count).toBe(1);
    vi.advanceTimersByTime(1);
    expect(count).toBe(2);
    vi.advanceTimersByTime(5_000);
    expect(count).toBe(2);
    correction.due();
    correction.due();
    expect(count).toBe(3);
    correction.close();
    correction.due();
    vi.advanceTimersByTime(5_000);
    expect([count, vi.getTimerCount()]).toEqual([3, 0]);
  });
});
