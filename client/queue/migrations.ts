import type { HeaderList, Priority } from '../../protocol/codec/heads.ts'
import { encodeRecord } from './record.ts'
import type { StoreChange } from './store.ts'

/** The form of the store that this version writes. A store without a number has the first form, 0. */
export const SCHEMA = 1

type Entries = [key: string, value: Uint8Array][]

/** What a request was in form 0: JSON with the body in base64, and a flag instead of a mark. */
interface RequestOfForm0 {
  id: string
  machine: string
  target: string
  method: string
  path: string
  headers: HeaderList
  body?: string
  priority: Priority
  idempotent: boolean
  timeoutMs: number
  maxBodyBytes: number
  acceptedAtMs: number
  sent: boolean
}

/** One step for each form: what to write so that a store of form n has form n + 1. */
const STEPS: readonly ((entries: Entries) => StoreChange[])[] = [
  (entries) =>
    entries.flatMap(([key, value]): StoreChange[] => {
      let old: RequestOfForm0
      try {
        old = JSON.parse(new TextDecoder().decode(value)) as RequestOfForm0
      } catch {
        // It stays as it is, and is set aside when it is read.
        return []
      }
      const { body, sent, ...rest } = old
      const bytes = body === undefined ? undefined : Uint8Array.from(atob(body), (char) => char.charCodeAt(0))
      const record = encodeRecord({ ...rest, withheld: [], expiresAtMs: undefined, body: bytes })
      const mark = { key: key.replace(/^r!/, 's!'), value: new Uint8Array() }
      return sent ? [{ key, value: record }, mark] : [{ key, value: record }]
    }),
]

/** What brings a store of form `from` to the present one. */
export function migrated(from: number, entries: Entries): StoreChange[] {
  const changes = new Map<string, StoreChange>()
  let now = entries
  for (const step of STEPS.slice(from)) {
    for (const change of step(now)) changes.set(change.key, change)
    now = now.map(([key, value]) => [key, changes.get(key)?.value ?? value])
  }
  return [...changes.values()]
}
