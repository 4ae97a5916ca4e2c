import type { Link } from '../../protocols/rtnetlink/index.ts';
import { quoted } from '../shell.ts';

/** Why a bridge forwards frames for 01:80:c2:00:00:00, and what mends it. */
export interface Cause {
  text: string;
  mend: string;
}

const BRIDGE_GROUP = 1 << 0;

/** As br_handle_frame() of the kernel decides. */
export function causeOf(bridge: Link, table: { readonly links: readonly Link[] }): Cause | undefined {
  const { name } = bridge;
  const { stpState, vlanFiltering, vlanProtocol } = bridge.bridge ?? {};
  if (stpState === 0) {
    return {
      text: `bridge ${name} has spanning tree off`,
      mend: `ip link set dev ${quoted(name)} type bridge stp_state 1`,
    };
  }
  if (vlanFiltering && vlanProtocol === '802.1ad') {
    return {
      text: `bridge ${name} is a provider bridge (802.1ad)`,
      mend: `ip link set dev ${quoted(name)} type bridge vlan_protocol 802.1q`,
    };
  }
  const open = table.links.find(
    ({ master, bridgePort }) =>
      master === bridge.index && ((bridgePort?.groupForwardMask ?? 0) & BRIDGE_GROUP) !== 0,
  );
  return (
    open && {
      text: `bridge ${name} has a port, ${open.name}, with bit 0 in group_fwd_mask`,
      mend: `ip link set dev ${quoted(open.name)} type bridge_slave group_fwd_mask 0`,
    }
  );
}
