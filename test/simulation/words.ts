import type { EcpPdu } from '../../protocols/ecp/index.ts';
import { ETHERTYPE_ECP_DRAFT, ETHERTYPE_LLDP, type EthernetFrame } from '../../protocols/ethernet/index.ts';
import { DecodeError } from '../../protocols/octets/index.ts';
import { invalidFormatAnswer, type VsiTlv } from '../../protocols/vdp/index.ts';
import type { DialectName } from '../../src/model.ts';
import { dialects } from '../../src/port/dialect.ts';

export type Side = 'station' | 'bridge';

/** One VSI TLV of a PDU. */
export interface Word {
  tlv: VsiTlv;
  manager: Uint8Array;
}

const around = { managerOctet: 'first', filterCount: 'present', draftRenumber: false } as const;
const READERS = {
  station: dialects({ role: 'station', ...around }),
  bridge: dialects({ role: 'bridge', ...around }),
};

function dialectOf({ etherType }: EthernetFrame): DialectName | undefined {
  if (etherType === ETHERTYPE_LLDP) return undefined;
  return etherType === ETHERTYPE_ECP_DRAFT ? 'draft' : 'ratified';
}

export function ecpduOf(frame: EthernetFrame): EcpPdu | undefined {
  const dialect = dialectOf(frame);
  if (dialect === undefined) return undefined;
  return readable(() => READERS.station[dialect].ecp.decode(frame.payload));
}

/** What the ECP request in this frame says to `reader`; undefined when it is none or cannot be read. */
export function wordsIn(frame: EthernetFrame, reader: Side): Word[] | undefined {
  const ecpdu = ecpduOf(frame);
  return ecpdu?.operation === 'request' ? wordsOf(ecpdu.ulpdu, reader, dialectOf(frame)!) : undefined;
}

export function wordsOf(ulpdu: Uint8Array, reader: Side, dialect: DialectName): Word[] | undefined {
  return readable(() =>
    READERS[reader][dialect].vdp.decode(ulpdu).pdus.flatMap(({ manager, vsis, invalid }) => {
      const unreadable = invalid.flatMap((tlv) => invalidFormatAnswer(tlv) ?? []);
      return [...vsis, ...unreadable].map((tlv) => ({ tlv, manager }));
    }),
  );
}

function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}
