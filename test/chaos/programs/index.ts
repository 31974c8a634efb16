import { pipes, rsync, scp, sftp } from './copies.ts'
import { counter } from './counter.ts'
import { forward } from './forward.ts'
import { git } from './git.ts'
import type { ChaosProgram } from './program.ts'

export type { ChaosProgram, ProgramContext, ProgramResult } from './program.ts'

/** The programs of the matrix, in the order of its rows. */
export const PROGRAMS: readonly ChaosProgram[] = [counter, pipes, scp, rsync, sftp, git, forward]
