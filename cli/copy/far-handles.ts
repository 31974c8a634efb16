import type { Handle, SftpSession } from '../../client/index.ts'
import type { Lanes } from './lanes.ts'

/** What moves no bytes. */
export const NOTHING = 0

/** One open file, of which each session has a handle of its own, made when it is first used there. */
export class Handles {
  readonly #lanes: Lanes
  readonly #open: (session: SftpSession) => Promise<Handle>
  readonly #handles = new Map<SftpSession, Promise<Handle>>()

  constructor(lanes: Lanes, open: (session: SftpSession) => Promise<Handle>) {
    this.#lanes = lanes
    this.#open = open
  }

  /** Whether it can be opened at all. */
  async first(): Promise<void> {
    await this.use(NOTHING, async () => {})
  }

  use<T>(bytes: number, request: (session: SftpSession, handle: Handle) => Promise<T>): Promise<T> {
    return this.#lanes.run(bytes, async (session) => request(session, await this.#on(session)))
  }

  async close(): Promise<void> {
    const handles = [...this.#handles]
    this.#handles.clear()
    await Promise.all(
      handles.map(async ([session, opening]) => {
        // A session that is lost has closed it.
        if (session.lost === undefined)
          await opening.then((handle) => session.closeHandle(handle)).catch(() => {})
      }),
    )
  }

  #on(session: SftpSession): Promise<Handle> {
    let opening = this.#handles.get(session)
    if (opening === undefined) {
      for (const known of this.#handles.keys()) if (known.lost !== undefined) this.#handles.delete(known)
      opening = this.#open(session)
      this.#handles.set(session, opening)
    }
    return opening
  }
}

/** All of `byteCount`, or less at the end of the file. */
export async function readWhole(
  session: SftpSession,
  handle: Handle,
  offset: number,
  byteCount: number,
  path: string,
): Promise<Buffer> {
  const { transferBytes } = session
  const parts: Promise<Buffer>[] = []
  for (let at = 0; at < byteCount; at += transferBytes)
    parts.push(readPart(session, handle, offset + at, Math.min(transferBytes, byteCount - at), path))
  const read = await Promise.all(parts)
  // Where one part is short the file ends there.
  const end = read.findIndex(
    (part, index) => part.length < Math.min(transferBytes, byteCount - index * transferBytes),
  )
  const whole = end === -1 ? read : read.slice(0, end + 1)
  return whole.length === 1 ? (whole[0] as Buffer) : Buffer.concat(whole)
}

/** A server may answer with less than it was asked for. */
async function readPart(
  session: SftpSession,
  handle: Handle,
  offset: number,
  byteCount: number,
  path: string,
): Promise<Buffer> {
  const first = await session.read(handle, offset, byteCount, path)
  if (first.length === byteCount || first.length === 0) return first
  const parts = [first]
  for (let at = first.length; at < byteCount; ) {
    const more = await session.read(handle, offset + at, byteCount - at, path)
    if (more.length === 0) break
    parts.push(more)
    at += more.length
  }
  return Buffer.concat(parts)
}
