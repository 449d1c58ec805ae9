/** Whether a call of the file system failed because what it names is not there. */
export function isMissing(error: unknown): boolean {
  return (error as Partial<NodeJS.ErrnoException>).code === "ENOENT";
}
