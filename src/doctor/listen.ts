/** Listens for LLDP itself where no daemon tells what it has heard. */

import { decodeFrame, ETHERTYPE_LLDP } from '../../protocols/ethernet/index.ts';
import { DRAFT_MODE_RELAY } from '../../protocols/evb/index.ts';
import { decodeLldpdu, EVB_MODE_BRIDGE } from '../../protocols/lldp-codec/index.ts';
import { DecodeError, type MacAddress, macToOctets } from '../../protocols/octets/index.ts';
import { GROUPS, protocolFilter } from '../link/filter.ts';
import { PacketSocket } from '../raw-socket/index.ts';
import type { Heard, HeardLldpdu } from './facts.ts';

/** Different LLDPDUs of one interface that are kept. */
const LLDPDUS_MAX = 32;

export interface ListenedTo {
  index: number;
  mac: MacAddress;
}

/** For at most so many seconds, on all at once; each ends as soon as an EVB TLV was heard on it. */
export function listen(links: readonly ListenedTo[], seconds: number): Promise<Heard[]> {
  return Promise.all(links.map((link) => listenOn(link, seconds)));
}

function listenOn({ index, mac }: ListenedTo, seconds: number): Promise<Heard> {
  return new Promise((resolve) => {
    const heard = new Map<string, HeardLldpdu>();
    let socket: PacketSocket | undefined;
    let timer: NodeJS.Timeout | undefined;
    const end = (failure?: string) => {
      clearTimeout(timer);
      socket?.close();
      resolve({ seconds, ...(failure && { failure }), lldpdus: [...heard.values()] });
    };
    try {
      socket = new PacketSocket({
        interfaceIndex: index,
        filter: protocolFilter(mac),
        memberships: GROUPS.map(macToOctets),
        onFrames: (frames) => {
          for (const { octets } of frames) {
            const lldpdu = lldpduOf(octets);
            if (lldpdu === undefined || heard.size >= LLDPDUS_MAX) continue;
            heard.set(`${lldpdu.source} ${lldpdu.destination}`, lldpdu);
            if (lldpdu.evb !== undefined) return end();
          }
        },
        // It was down, or goes down: then there is nothing to hear.
        onError: () => {},
      });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      return end(code === 'EPERM' ? 'CAP_NET_RAW is missing' : message);
    }
    timer = setTimeout(() => end(), seconds * 1000);
  });
}

/** Undefined for all that is no LLDP. */
export function lldpduOf(octets: Uint8Array): HeardLldpdu | undefined {
  try {
    const { source, destination, etherType, payload } = decodeFrame(octets);
    if (etherType !== ETHERTYPE_LLDP) return undefined;
    const { evb, evbDraft, systemName } = decodeLldpdu(payload).lldpdu;
    const lldpdu = { source, destination, ...(systemName === undefined ? {} : { systemName }) };
    if (evb !== undefined) {
      const bridge = evb.mode === EVB_MODE_BRIDGE;
      return { ...lldpdu, evb: bridge ? 'bridge' : 'station', relay: bridge && evb.bridgeStatus.rrcap };
    }
    if (evbDraft !== undefined)
      return { ...lldpdu, evb: 'draft', relay: (evbDraft.smode & DRAFT_MODE_RELAY) !== 0 };
    return lldpdu;
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}
