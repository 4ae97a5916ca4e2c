/** When LeakKeeper does what; what it does to a kernel is in test/kernel. */

import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { Link } from '../../protocols/rtnetlink/index.ts';
import { KernelError } from '../../src/kernel/kernel-error.ts';
import { LeakKeeper } from '../../src/runtime/leak-keeper.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
afterEach(() => void vi.useRealTimers());

it('a change of somebody else is put right after a second, also while something else is to be tried again later', async () => {
  const links = [
    { name: 'br0', index: 1, bridge: { stpState: 0 } },
    { name: 'swp1', index: 2, master: 1, bridgePort: {} },
    { name: 'swp2', index: 3, master: 1, bridgePort: {} },
  ] as unknown as Link[];
  let foreignChange = () => {};
  let refuses = false;
  let made = 0;
  const keeper = new LeakKeeper({
    links: { links, get: (which) => links.find(({ name, index }) => which === name || which === index) },
    onJournal: async () => {},
    onLeak: () => {},
    openTable: (onForeignChange) => {
      foreignChange = onForeignChange;
      return {
        set: async () => {
          if (refuses) throw new KernelError('put a rule into nftables', 'ETIMEDOUT', 'no answer');
          made++;
          return true;
        },
        close: () => {},
      };
    },
    warn: () => {},
  });
  const becomes = async (count: number, milliseconds: number) => {
    await vi.advanceTimersByTimeAsync(milliseconds);
    expect(made).toBe(count);
  };
  keeper.serve('swp1', 'stop');
  keeper.start([]);
  await becomes(1, 0);
  foreignChange();
  await becomes(2, 0);
  foreignChange();
  refuses = true;
  keeper.serve('swp2', 'stop');
  await becomes(2, 0);
  refuses = false;
  await becomes(3, 1_000);
  await keeper.close();
  expect(vi.getTimerCount()).toBe(0);
});
