import { describe, expect, it } from 'vitest';
import type { BridgeState, Link } from '../../protocols/rtnetlink/index.ts';
import { causeOf } from '../../src/kernel/leak-cause.ts';

const link = (index: number, name: string, more: Partial<Link>): Link => ({
  index,
  name,
  mtu: 1500,
  up: true,
  running: true,
  lowerUp: true,
  ...more,
});
const cause = (state: Partial<BridgeState>) => {
  const bridge = { stpState: 1, vlanFiltering: false, groupForwardMask: 0, ...state };
  return causeOf(link(1, 'br0', { kind: 'bridge', bridge }), { links: [] })?.text;
};

/** What the kernel of the other tests has not: seen with frames on Linux 6.1. */
describe('a VLAN-aware bridge with spanning tree', () => {
  it('forwards the group address when it goes by provider tags', () => {
    const provider = { vlanProtocol: '802.1ad' } as const;
    expect(cause({ ...provider, vlanFiltering: true })).toBe('bridge br0 is a provider bridge (802.1ad)');
    expect(cause({ ...provider, vlanFiltering: false })).toBeUndefined();
    expect(cause({ ...provider, vlanFiltering: true, stpState: 0 })).toBe('bridge br0 has spanning tree off');
  });

  it('keeps it to itself otherwise, whoever speaks the spanning tree', () => {
    expect(cause({ vlanProtocol: '802.1q', vlanFiltering: true })).toBeUndefined();
    expect(cause({ stpState: 2 })).toBeUndefined();
  });
});
