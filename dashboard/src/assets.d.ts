// SPDX-License-Identifier: Apache-2.0
declare module '*?url&inline' {
  const url: string;
  export default url;
}
