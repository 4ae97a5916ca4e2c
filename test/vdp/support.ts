import type { MacAddress } from '../../protocols/octets/index.ts';
import {
  type FilterEntry,
  tlvOf,
  type VdpRequest,
  type VsiCommand,
  type VsiTlv,
  vdpTimers,
} from '../../protocols/vdp/index.ts';
import { MANAGER_12, UUID_OCTETS } from '../fixtures/vectors.ts';

/** Defaults of the standard: respWaitDelay and toutKeepAlive 17448.96 ms, the other delays 10485.76 ms (vectors.md V19). */
export const TIMERS = vdpTimers({ r: 3, rte: 14, rwd: 20, rka: 20 });
export const {
  respWaitDelay: RESP,
  reinitKeepAlive: KEEPALIVE,
  toutKeepAlive: TOUT,
  resourceWaitDelay: RESOURCE,
} = TIMERS;

export const MAC_A = '52:54:00:00:00:0a' as MacAddress;
export const MAC_B = '52:54:00:00:00:0b' as MacAddress;

export function command(request: VdpRequest, more: Partial<VsiCommand> = {}): VsiCommand {
  return {
    request,
    manager: MANAGER_12,
    type: 0x123456,
    typeVersion: 1,
    idFormat: 5,
    id: UUID_OCTETS,
    filters: [{ mac: MAC_A, vid: 42 }],
    hint: 'none',
    ...more,
  };
}

export const filters = (...vids: number[]): FilterEntry[] =>
  vids.map((vid, i) => ({ mac: i === 0 ? MAC_A : MAC_B, vid }));

/** The TLV by which the other side answers `asked`; 0x40 is success. */
export const answer = (asked: VsiCommand, status = 0x40, more: Partial<VsiCommand> = {}): VsiTlv =>
  tlvOf({ ...asked, ...more }, status);

/** Attributes that a request or an answer may differ in, each by itself. */
export const OTHER_ATTRIBUTES: [string, Partial<VsiCommand>][] = [
  ['Manager ID', { manager: new Uint8Array(16) }],
  ['type id', { type: 7 }],
  ['type version', { typeVersion: 2 }],
  ['VID', { filters: filters(43) }],
  ['MAC', { filters: [{ mac: MAC_B, vid: 42 }] }],
  ['filter format', { filters: [{ vid: 42 }] }],
  ['number of entries', { filters: filters(42, 43) }],
  ['GroupID', { filters: [{ mac: MAC_A, vid: 42, group: 1 }] }],
];
