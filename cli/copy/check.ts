import type { ReadEnd, WriteEnd } from './files.ts'
import { moveBytes } from './move-bytes.ts'
import { OrderedHash } from './ordered-hash.ts'
import type { CopyContext } from './transfer.ts'

/** How it is known that the copy is what the source was. */
export type Checked =
  /** Both sides have made the checksum themselves. */
  | 'both sides'
  /** The far side cannot: what it has was read again. */
  | 'read back'
  | 'not checked'

export interface CheckRequest {
  source: string
  part: string
  size: number
  /** Of what was read here. */
  sha256: string
  /** The source was written to meanwhile. */
  changed: boolean
  /** The machine's sum of its file, where that was begun before. */
  early: Promise<string | undefined> | undefined
}

/** Whether what is in the part file is what the source was. */
export async function check(
  context: CopyContext,
  { source, part, size, sha256, changed, early }: CheckRequest,
): Promise<{ checked: Checked; isRight: boolean }> {
  const { from, to, checksums } = context
  if (checksums === undefined) return { checked: 'not checked', isRight: true }
  context.onChecking(from.isNear ? source : part)
  let far = await (early ?? checksums.ask(part))
  // One that was made while the file was written says nothing but that it is right.
  if (far !== sha256 && early !== undefined && from.isNear) far = await checksums.ask(part)
  // Of a source that has changed there is nothing left to compare with.
  const isComparable = far !== undefined && !(changed && to.isNear)
  if (isComparable) return { checked: 'both sides', isRight: far === sha256 }
  const readBack = new OrderedHash()
  const reader = await to.openRead(part)
  const hash = await hashOf(reader, readBack, size, context)
  return { checked: 'read back', isRight: hash === sha256 }
}

async function hashOf(
  reader: ReadEnd,
  hash: OrderedHash,
  size: number,
  { window, signal }: CopyContext,
): Promise<string> {
  const nowhere: WriteEnd = { write: async () => {}, truncate: async () => {}, close: async () => {} }
  const move = { reader, writer: nowhere, told: 'the copy', hop: 'target', window, hash, signal } as const
  const { error } = await moveBytes({ ...move, from: 0, to: size, onMoved: () => {} })
  await reader.close()
  if (error !== undefined) throw error
  return hash.digest()
}
