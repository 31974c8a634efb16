import { TunnelError } from '../../protocol/codec/errors.ts'

/** Why a file could not be dealt with, whichever side it is on. */
export type FileProblem =
  | 'missing'
  | 'denied'
  | 'folder'
  | 'not-folder'
  | 'exists'
  | 'full'
  | 'name'
  | 'unsupported'
  | 'other'

const TOLD: Record<Exclude<FileProblem, 'other'>, string> = {
  missing: 'there is no such file or folder',
  denied: 'permission denied',
  folder: 'it is a folder',
  'not-folder': 'it is not a folder',
  exists: 'it exists already',
  full: 'the disk is full',
  name: 'the name is too long or not valid there',
  unsupported: 'the server cannot do that',
}

/** A file or folder, here or on a machine, with which something could not be done. */
export class FileError extends TunnelError {
  readonly problem: FileProblem

  /** @param tried as a sentence has it: 'home:/srv/a cannot be read' */
  constructor(
    tried: string,
    problem: FileProblem,
    { hop, cause, detail = '' }: { hop: 'client' | 'target'; cause?: unknown; detail?: string },
  ) {
    super('FILE_FAILED', `${tried}: ${problem === 'other' ? detail || 'it failed' : TOLD[problem]}`, {
      hop,
      cause,
    })
    this.problem = problem
  }
}

/** Status codes of SFTP version 3, and what OpenSSH's server makes of an errno. */
export const STATUS = { OK: 0, EOF: 1 } as const
const PROBLEMS: ReadonlyMap<number, FileProblem> = new Map([
  [2, 'missing'],
  [3, 'denied'],
  [5, 'name'],
  [8, 'unsupported'],
])

export function problemOf(status: number): FileProblem {
  return PROBLEMS.get(status) ?? 'other'
}
