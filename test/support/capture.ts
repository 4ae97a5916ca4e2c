import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { readPcap } from '../../src/cli/pcap.ts';
import { type FrameDocument, isProtocolFrame, summarize, type VsiDocument } from '../../src/cli/summary.ts';
import { eventually, type World } from './world.ts';

/** A VSI TLV on the wire; `source` is who sent it. */
export interface SeenVsi extends VsiDocument {
  source: string;
}

let captures = 0;

/** tcpdump at one end of the wire: what was really said, whatever either daemon believes. */
export class Capture {
  readonly #file: string;

  private constructor(file: string) {
    this.#file = file;
  }

  /** Resolves when it captures. */
  static async start(world: World, namespace: string, link: string): Promise<Capture> {
    const file = `${world.folder}/capture-${captures++}.pcap`;
    const command = ['tcpdump', '--immediate-mode', '-U', '-Z', 'root', '-i', link, '-w', file];
    const tcpdump = world.start(namespace, command);
    let said = '';
    while (!said.includes('listening on')) said += String(await once(tcpdump.stderr!, 'data'));
    return new Capture(file);
  }

  /** The protocol frames so far. */
  async frames(): Promise<FrameDocument[]> {
    const frames: FrameDocument[] = [];
    try {
      for await (const { octets, cut } of readPcap(createReadStream(this.#file))) {
        const { document } = summarize(octets, cut);
        if (isProtocolFrame(document)) frames.push(document);
      }
    } catch {
      // The last record is still being written.
    }
    return frames;
  }

  /** The VSI TLVs so far, of the VSI with this id or of all. Retransmissions are left out. */
  async vsis(id?: string): Promise<SeenVsi[]> {
    const last = new Map<string, number>();
    const all = (await this.frames()).flatMap(({ source, ecp, vdp }) => {
      if (vdp === undefined || last.get(source!) === ecp!.sequence) return [];
      last.set(source!, ecp!.sequence);
      return vdp.vsis.map((vsi) => ({ ...vsi, source: source! }));
    });
    return id === undefined ? all : all.filter((vsi) => vsi.id === id);
  }

  /** Resolves when each of these VSIs was granted so often more than by now, or its keepalive answered. */
  async granted(ids: readonly string[], more: number): Promise<void> {
    const grants = async () => {
      const said = (await this.vsis()).filter(
        ({ request, status }) => request === 'associate' && status?.ack && status.error === 0,
      );
      return ids.map((id) => said.filter((vsi) => vsi.id === id).length);
    };
    const before = await grants();
    await eventually(grants, (now) => now.every((count, i) => count >= before[i]! + more), 'grants');
  }
}
