import { hostname } from 'node:os';
import { LLDP_TIMING, type LldpTiming } from '../../protocols/lldp-agent/index.ts';
import type { PortConfig, UplinkConfig } from '../config/config.ts';
import type { SystemDescription } from '../port/port.ts';
import type { RoleOptions } from '../port/role.ts';

/** The rest, txCreditMax among it, as the standard has it: it only bounds what follows a change, and no peer wants it otherwise. */
export function lldpTiming(lldp: UplinkConfig['lldp']): LldpTiming {
  return { ...LLDP_TIMING, msgTxInterval: lldp['tx-interval'], msgTxHold: lldp['tx-hold'] };
}

export function interopOptions(interop: UplinkConfig['interop'] | PortConfig['interop']) {
  return {
    ecpSource: interop['ecp-source'],
    managerOctet: interop['manager-octet'],
    filterCount: interop['filter-count'],
    lldpScope: interop['lldp-scope'],
    draftRenumber: interop['draft-renumber'],
    evbFirst: !('evb-first' in interop) || interop['evb-first'],
    vsiKey: 'vsi-key' in interop ? interop['vsi-key'] : 'vsiid',
    deassocAck: 'deassoc-ack' in interop && interop['deassoc-ack'],
  } satisfies Partial<RoleOptions>;
}

export function systemDescription(name: string, capability: number): SystemDescription {
  return {
    systemName: hostname(),
    portDescription: name,
    capabilities: { supported: capability, enabled: capability },
  };
}
