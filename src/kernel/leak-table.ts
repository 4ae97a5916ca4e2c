import { isDeepStrictEqual } from 'node:util';
import {
  decodeBaseChain,
  decodeGeneration,
  decodeIndexes,
  decodeRule,
  decodeSet,
  decodeTableFlags,
  deleteTable,
  encodeBatch,
  encodeGetElements,
  encodeGetGeneration,
  encodeGetOfTable,
  NETLINK_NETFILTER,
  NF_ACCEPT,
  NF_BR_FORWARD,
  NF_BR_PRI_FILTER_BRIDGED,
  NFNLGRP_NFTABLES,
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETGEN,
  NFT_MSG_GETRULE,
  NFT_MSG_GETSET,
  NFT_MSG_GETSETELEM,
  NFT_MSG_GETTABLE,
  type NftBaseChain,
  type NftChange,
  type NftExpression,
  type NftSet,
  newBaseChain,
  newIndexes,
  newIndexSet,
  newRule,
  newTable,
  tableNameOf,
} from '../../protocols/nftables/index.ts';
import { decodeMessages, type NetlinkMessage } from '../../protocols/rtnetlink/index.ts';
import { type NetlinkMessageIn, NetlinkSocket } from '../raw-socket/index.ts';
import { hasCode, KernelError } from './kernel-error.ts';
import { NetlinkRequests } from './netlink.ts';

/** Of the bridge family. Others are never touched. */
const TABLE = 'evbd';
const CHAIN: NftBaseChain = {
  name: 'forward',
  hook: NF_BR_FORWARD,
  priority: NF_BR_PRI_FILTER_BRIDGED,
  policy: NF_ACCEPT,
};
const PORTS: NftSet = { name: 'ports', flags: 0, keyLength: 4 };
/** ether daddr 01:80:c2:00:00:00 iif @ports drop, and likewise oif. By index: a port that is renamed stays in. */
const RULES: readonly (readonly NftExpression[])[] = (['iif', 'oif'] as const).map((key) => [
  { kind: 'payload', offset: 0, length: 6 },
  { kind: 'equals', octets: Uint8Array.of(0x01, 0x80, 0xc2, 0, 0, 0) },
  { kind: 'meta', key },
  { kind: 'in', set: PORTS.name },
  { kind: 'drop' },
]);

/** So often others may change tables of theirs between our reading and our writing. */
const TRIES = 5;

interface Contents {
  /** Of all tables, as they were before this was read. */
  generation: number | undefined;
  there: boolean;
  /** Table, chain, set and rules are as we make them. */
  whole: boolean;
  ports: ReadonlySet<number>;
}

/**
 * The nftables table that keeps frames for 01:80:c2:00:00:00 from being forwarded from and to some bridge ports, of whichever
 * bridges. It is replaced as a whole in one transaction, so there is no moment without it.
 */
export class LeakTable extends NetlinkRequests {
  readonly #events: NetlinkSocket;

  /** `onForeignChange`: somebody else has changed, made or deleted it. Throws KernelError where the kernel has no nftables. */
  constructor(onForeignChange: () => void) {
    super({}, NETLINK_NETFILTER);
    try {
      this.#events = new NetlinkSocket({
        protocol: NETLINK_NETFILTER,
        groups: [NFNLGRP_NFTABLES],
        onMessages: (datagrams) => {
          if (datagrams.some((datagram) => this.#isForeignChange(datagram))) onForeignChange();
        },
        // Events were lost, ours may be among them.
        onError: () => onForeignChange(),
      });
    } catch (error) {
      super.close();
      throw KernelError.from('watch the nftables tables', error);
    }
    this.#events.unref();
  }

  override close(): void {
    this.#events.close();
    super.close();
  }

  /**
   * Frames are kept from being forwarded at `ports`, and no longer at those that `letGo` tells. Others that are in the table are
   * those of another evbd and stay; where none are left the table goes. Whether there was anything to change.
   */
  async set(ports: ReadonlySet<number>, letGo: (index: number) => boolean): Promise<boolean> {
    for (let tries = 1; ; tries++) {
      const is = await this.#read();
      const others = [...is.ports].filter((index) => !letGo(index));
      const shall = new Set([...others, ...ports]);
      const asItShall = shall.size === 0 ? !is.there : is.whole && isDeepStrictEqual(shall, is.ports);
      if (asItShall) return false;
      try {
        await this.#write(shall, tries < TRIES ? is.generation : undefined);
        return true;
      } catch (error) {
        if (!hasCode(error, 'ERESTART') || tries >= TRIES) throw error;
      }
    }
  }

  async #read(): Promise<Contents> {
    const what = `read the nftables table ${TABLE}`;
    const asked = this.request(what, NFT_MSG_GETGEN, 0, encodeGetGeneration(), decodeGeneration);
    const [generation] = await asked.catch((error) => {
      // What nfnetlink says where nobody answers such requests.
      if (!hasCode(error, 'EINVAL')) throw error;
      throw new KernelError(what, 'EOPNOTSUPP', 'this kernel has no nftables');
    });
    const ofTable = encodeGetOfTable(TABLE);
    const found = this.request(what, NFT_MSG_GETTABLE, 0, ofTable, decodeTableFlags);
    const [flags] = await this.unless('ENOENT', found);
    if (flags === undefined) return { generation, there: false, whole: false, ports: new Set() };
    const list = async <T>(type: number, decode: (message: NetlinkMessage) => T): Promise<T[]> => {
      const all = await this.dump(what, type, ofTable, (message) =>
        // The kernel tells the chains and sets of other tables too.
        tableNameOf(message) === TABLE ? { one: decode(message) } : undefined,
      );
      return all.flatMap((each) => each?.one ?? []);
    };
    const chains = await list(NFT_MSG_GETCHAIN, (message) => decodeBaseChain(message) ?? 'another');
    const sets = await list(NFT_MSG_GETSET, decodeSet);
    const rules = await list(NFT_MSG_GETRULE, decodeRule);
    const elements = this.dump(what, NFT_MSG_GETSETELEM, encodeGetElements(TABLE, PORTS.name), decodeIndexes);
    return {
      generation,
      there: true,
      whole:
        flags === 0 &&
        isDeepStrictEqual(chains, [CHAIN]) &&
        isDeepStrictEqual(sets, [PORTS]) &&
        isDeepStrictEqual(
          rules.map(({ expressions }) => expressions),
          RULES,
        ),
      ports: new Set((await this.unless('ENOENT', elements)).flat()),
    };
  }

  #write(ports: ReadonlySet<number>, generation: number | undefined): Promise<void> {
    // Made first, where it is not there, so that it can be deleted: nft(8) does the same.
    const changes: NftChange[] = [newTable(TABLE), deleteTable(TABLE)];
    if (ports.size > 0) {
      changes.push(newTable(TABLE), newIndexSet(TABLE, PORTS.name));
      changes.push(...newIndexes(TABLE, PORTS.name, [...ports]));
      changes.push(newBaseChain(TABLE, CHAIN), ...RULES.map((rule) => newRule(TABLE, CHAIN.name, rule)));
    }
    const what = ports.size > 0 ? 'put a rule into nftables' : `delete the nftables table ${TABLE}`;
    return this.transact(what, (sequence) => encodeBatch(changes, sequence, generation));
  }

  #isForeignChange({ octets, portId }: NetlinkMessageIn): boolean {
    if (portId !== 0) return false;
    try {
      return decodeMessages(octets).some(
        (message) => message.portId !== this.portId && tableNameOf(message) === TABLE,
      );
    } catch {
      // Whatever it tells: what is there is looked at.
      return true;
    }
  }
}
