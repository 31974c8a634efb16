import { readdirSync } from 'node:fs'
import { getHeapSnapshot } from 'node:v8'

/** What this process holds when its garbage is gone. */
export interface Held {
  /** Of V8's heap, in KiB. */
  heapKib: number
  descriptors: number
  /** Living objects by the name of their class. */
  objects: ReadonlyMap<string, number>
}

interface HeapSnapshot {
  snapshot: { meta: { node_fields: string[]; node_types: [string[], ...unknown[]] } }
  nodes: number[]
  strings: string[]
}

/** That this process has open. */
export function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** A snapshot of the heap collects all garbage first, and names the class of each object that is left. */
export async function held(): Promise<Held> {
  const chunks: Buffer[] = []
  for await (const chunk of getHeapSnapshot()) chunks.push(chunk as Buffer)
  const { snapshot, nodes, strings } = JSON.parse(String(Buffer.concat(chunks))) as HeapSnapshot
  const { node_fields: fields, node_types: types } = snapshot.meta
  const [type, name, size] = ['type', 'name', 'self_size'].map((field) => fields.indexOf(field)) as [
    ...[number, number, number],
  ]
  const objectType = types[0].indexOf('object')
  const objects = new Map<string, number>()
  let heapBytes = 0
  for (let at = 0; at < nodes.length; at += fields.length) {
    heapBytes += nodes[at + size]!
    if (nodes[at + type] !== objectType) continue
    const of = strings[nodes[at + name]!]!
    objects.set(of, (objects.get(of) ?? 0) + 1)
  }
  return { heapKib: Math.round(heapBytes / 1_024), descriptors: descriptors(), objects }
}
