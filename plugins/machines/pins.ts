import { isDeepStrictEqual } from 'node:util'
import { keysUntrusted, machineUnknown, nothingToTrust, showsOthers } from './errors.ts'
import { describe, type HostKey, lineOf } from './host-keys.ts'
import { type MachineRecord, type MachineRecords, shownKeys, trusted } from './records.ts'

/** Hears, once for each, of host keys that a machine shows and that are not the pinned ones. */
export type KeysListener = (
  owner: string,
  name: string,
  pinned: readonly HostKey[],
  shown: readonly HostKey[],
) => void

/** By which host keys each machine is known, and who hears that one shows others. */
export class Pins {
  readonly #records: MachineRecords
  readonly #listeners: KeysListener[] = []

  constructor(records: MachineRecords) {
    this.#records = records
  }

  onKeysChanged(listener: KeysListener): void {
    this.#listeners.push(listener)
  }

  /** @throws {TunnelError} MACHINE_UNKNOWN */
  recordOf(owner: string, name: string): MachineRecord {
    const record = this.#records.get(owner, name)
    // Whoever is told may not be its owner: no name of another machine is.
    if (record === undefined) throw machineUnknown(name, [])
    return record
  }

  /** Keeps what is known of a machine now, and tells of keys that are not the pinned ones. */
  async store(owner: string, name: string, record: MachineRecord): Promise<void> {
    const before = this.#records.get(owner, name)?.changedKeys ?? []
    await this.#records.put(owner, name, record)
    const { hostKeys, changedKeys } = record
    if (changedKeys.some((key) => !before.includes(key))) this.tell(owner, name, hostKeys, changedKeys)
  }

  /** Tells the listeners of keys that are not the pinned ones; both as lines `ssh-ed25519 AAAA…`. */
  tell(owner: string, name: string, pinned: readonly string[], shown: readonly string[]): void {
    for (const listener of this.#listeners) listener(owner, name, pinned.map(describe), shown.map(describe))
  }

  /**
   * The keys that are pinned; none where its agent has told of none yet.
   * @throws {TunnelError} MACHINE_UNKNOWN, and HOST_KEY_CHANGED where its owner has to trust some first
   */
  pinned(owner: string, name: string): string[] {
    const { hostKeys, changedKeys } = this.recordOf(owner, name)
    if (hostKeys.length === 0 && changedKeys.length > 0) throw keysUntrusted(name)
    return hostKeys
  }

  /** The machine's SSH server has shown a key that is not pinned. */
  shown(owner: string, name: string, blob: Buffer): void {
    const record = this.#records.get(owner, name)
    const key = lineOf(blob)
    if (record === undefined || key === undefined) return
    if (record.hostKeys.includes(key) || record.changedKeys.includes(key)) return
    // What cannot be stored is shown again at the next attempt.
    this.store(owner, name, { ...record, changedKeys: [key] }).catch(() => {})
  }

  /**
   * The owner's word that a machine's changed keys are right.
   * @param seen fingerprints that the owner has compared; without them whatever the machine shows is trusted
   * @throws {TunnelError} MACHINE_UNKNOWN, MACHINE_OFFLINE, and HOST_KEY_CHANGED where it shows others than those
   */
  async trust(owner: string, name: string, seen?: readonly string[]): Promise<void> {
    const record = this.recordOf(owner, name)
    if (record.changedKeys.length === 0 && record.hostKeys.length === 0) throw nothingToTrust(name)
    const shown = shownKeys(record).map((key) => describe(key).fingerprint)
    if (seen !== undefined && !isDeepStrictEqual([...seen].sort(), shown.sort()))
      throw showsOthers(name, shown)
    await this.#records.put(owner, name, trusted(record))
  }
}
